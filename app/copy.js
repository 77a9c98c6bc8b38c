// Copies an answer as its model wrote it, by the button in its row.
(() => {
  if (window.vqaCopies) return; // once for each page
  window.vqaCopies = true;

  const copy = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea"); // a page that came over plain HTTP
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  };

  window.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    await copy(decodeURIComponent(button.dataset.copy));
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 2000);
  });
})();
