// On a phone the side bar covers the page: it closes once a conversation is chosen there.
(() => {
  if (window.vqaSideBar) return; // once for each page
  window.vqaSideBar = true;
  const narrow = matchMedia("(max-width: 767.98px)");
  const chosen = '[data-testid="stSidebar"] :is([class*="st-key-open-"], .st-key-new) button';
  addEventListener("click", (event) => {
    if (!narrow.matches || !event.target.closest?.(chosen)) return;
    const close = () => document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
    setTimeout(close); // after the click has done its work
  }, true);
})();
