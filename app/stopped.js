// Says of a server that has stopped what it is, in the page's language: Streamlit asks whether there
// is a connection to the internet, which nobody here needs, or names a command that is not ours.
(() => {
  if (window.vqaStopped) return; // once for each page
  window.vqaStopped = true;
  const ASKS = /^Streamlit server is not responding|^Is Streamlit still running/; // on localhost
  setInterval(() => {
    for (const dialog of document.querySelectorAll('[role="dialog"]')) {
      const texts = document.createTreeWalker(dialog, NodeFilter.SHOW_TEXT);
      const nodes = [];
      while (texts.nextNode()) nodes.push(texts.currentNode);
      if (!nodes.some((one) => ASKS.test(one.data.trim()))) continue;
      for (const node of nodes) {
        const written = node.data.trim();
        if (written === "Connection error") node.data = window.vqaTexts.stopped;
        else if (ASKS.test(written)) node.data = window.vqaTexts.restart;
        else if (written.includes("connected to the internet")) node.data = "";
      }
      for (const code of dialog.querySelectorAll("pre")) code.parentElement.style.display = "none";
    }
  }, 200);
})();
