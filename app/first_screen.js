// Streamlit opens a page that has a box for questions at its end, and goes there again with each
// picture that comes. That is right for a conversation, but the first screen, where it is longer
// than a phone's, is read from its top.
(() => {
  if (window.vqaFirstScreen) return; // once for each page
  window.vqaFirstScreen = true;
  const MOST = 50; // for each height of the page: a slow one scrolls for seconds
  let times = 0;
  let height = 0;
  let isRead = false; // somebody has touched it
  for (const kind of ["wheel", "touchstart", "keydown", "pointerdown"])
    addEventListener(kind, (event) => (isRead ||= event.isTrusted), { capture: true, passive: true });
  setInterval(() => {
    const page = document.querySelector('[data-testid="stAppScrollToBottomContainer"]');
    if (!page?.querySelector(".st-key-examples")) {
      isRead = false; // the next first screen is a new one
      return;
    }
    if (page.scrollHeight !== height) {
      height = page.scrollHeight;
      times = 0;
    }
    if (page.scrollTop > 0 && times < MOST && !isRead) {
      times += 1;
      page.dispatchEvent(new Event("wheel")); // what ends Streamlit's own scrolling
      page.scrollTop = 0;
    }
  }, 100);
})();
