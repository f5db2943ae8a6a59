"""Old addresses keep working: `book/moved.yml` says what of the book has moved, and where to."""

import json
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

# Where a page has no target of the name that its address asks for, go where that has moved to.
FOLLOW = """{
  const moved = %s;
  const follow = () => {
    const anchor = decodeURIComponent(location.hash.slice(1));
    if (Object.hasOwn(moved, anchor) && !document.getElementById(anchor)) location.replace(moved[anchor]);
  };
  addEventListener("DOMContentLoaded", follow);
  addEventListener("hashchange", follow);
}"""


def redirect_pages(app: Sphinx, config: Config) -> None:
    """Read the file, and hand the pages that have moved to sphinx-reredirects."""
    moved = yaml.safe_load(Path(app.srcdir, "book", "moved.yml").read_text(encoding="utf-8")) or {}
    config.moved = {old: new for old, new in moved.items() if "#" in old}
    config.redirects |= {old: f"/{new}.html" for old, new in moved.items() if "#" not in old}


def follow_anchors(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.Node | None) -> None:
    """On a page from which sections or equations have moved, a script that follows them."""
    moved = {}
    for old, new in app.config.moved.items():
        old_page, _, anchor = old.partition("#")
        new_page, _, target = new.partition("#")
        if old_page == page:
            moved[anchor] = f"{app.builder.get_relative_uri(page, new_page)}#{target}"
    if moved:
        app.add_js_file(None, body=FOLLOW % json.dumps(moved))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of this with Sphinx."""
    app.connect("config-inited", redirect_pages)
    app.connect("html-page-context", follow_anchors)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
