"""One module a chapter: the configurations at three scales and how one is trained."""
