// A link to an equation shows it in a card, while the pointer is on the link or the card, or the keyboard on the link.
// Escape puts it away. The link carries the formula (see cross_references.py), MathJax sets it.
(() => {
  const card = document.createElement("div");
  card.id = "equation-card";
  card.className = "mathjax_process";
  let shown = null; // the link whose equation the card shows, or is about to show
  let timer;

  const hide = () => {
    clearTimeout(timer);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    card.remove();
  };

  const show = async (link) => {
    if (link === shown) return clearTimeout(timer);
    hide();
    shown = link;
    MathJax.typesetClear([card]);
    card.textContent = `\\[${link.dataset.equation}\\]`;
    card.removeAttribute("style");
    document.body.append(card);
    await MathJax.typesetPromise([card]);
    if (link !== shown) return;
    link.setAttribute("aria-describedby", card.id);
    // A formula wider than the card is set smaller.
    const size = Math.min(1, card.clientWidth / card.scrollWidth);
    card.style.fontSize = `${100 * size}%`;
    const line = link.getClientRects()[0];
    const above = line.top - card.offsetHeight - 6;
    const top = above > 60 ? above : line.bottom + 6; // 60 pixels: the bar at the top of the window
    const left = Math.max(8, Math.min(line.left, document.documentElement.clientWidth - card.offsetWidth - 8));
    Object.assign(card.style, { top: `${top + scrollY}px`, left: `${left}px`, visibility: "visible" });
  };

  // In the ledger the equation stands beside its link.
  const linkAt = (event) => event.target.closest?.("a[data-equation]:not(table.ledger a)");
  document.addEventListener("mouseover", (event) => {
    if (linkAt(event)) show(linkAt(event));
    else if (card.contains(event.target)) clearTimeout(timer);
  });
  document.addEventListener("mouseout", (event) => {
    if (linkAt(event) || card.contains(event.target)) timer = setTimeout(hide, 200);
  });
  document.addEventListener("focusin", (event) => linkAt(event)?.matches(":focus-visible") && show(linkAt(event)));
  document.addEventListener("focusout", hide);
  document.addEventListener("click", hide);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
})();
