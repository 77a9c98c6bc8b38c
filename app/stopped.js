// Says of a server that has stopped what it is, in the page's language: Streamlit asks whether there
// is a connection to the internet, which nobody here needs.
(() => {
  if (window.vqaStopped) return; // once for each page
  window.vqaStopped = true;
  setInterval(() => {
    const shown = [...document.querySelectorAll('[role="dialog"]')].find((one) =>
      one.textContent.includes("Streamlit server is not responding"),
    );
    if (!shown) return;
    const texts = document.createTreeWalker(shown, NodeFilter.SHOW_TEXT);
    for (let node = texts.nextNode(); node; node = texts.nextNode()) {
      if (node.data.trim() === "Connection error") node.data = window.vqaTexts.stopped;
      else if (node.data.includes("Streamlit server")) node.data = window.vqaTexts.restart;
      else if (node.data.includes("connected to the internet")) node.data = "";
    }
  }, 200);
})();
