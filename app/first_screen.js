// Streamlit opens a page that has a box for questions at its end. That is right for a conversation,
// but the first screen, where it is longer than a phone's, is read from its top.
(() => {
  if (window.vqaFirstScreen) return; // once for each page
  window.vqaFirstScreen = true;
  const MOST = 5; // a few: nobody who scrolls is held back
  let times = 0;
  setInterval(() => {
    const page = document.querySelector('[data-testid="stAppScrollToBottomContainer"]');
    if (!page?.querySelector(".st-key-examples")) times = 0;
    else if (page.scrollTop > 0 && times < MOST) {
      times += 1;
      page.dispatchEvent(new Event("wheel")); // what ends Streamlit's own scrolling
      page.scrollTop = 0;
    }
  }, 100);
})();
