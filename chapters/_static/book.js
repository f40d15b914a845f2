// A formula wider than its column scrolls in its own box. Give that box a tab stop, so that the
// keyboard can scroll it too. (The theme does the same for code, outputs and tables.)
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  const update = (entries) => entries.forEach(({ target: box }) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
  const sizes = new ResizeObserver(update);
  document.querySelectorAll('mjx-container[display="true"]').forEach((box) => sizes.observe(box));
});
