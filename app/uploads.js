// Streamlit would send a question without the file that it refused, or that is still on its way: see
// uploads.py.
(() => {
  if (window.vqaHoldsBack) return; // once for each page
  window.vqaHoldsBack = true;
  const boxes = '[data-testid="stChatInput"], [data-testid="stForm"]';
  const buttons =
    '[data-testid="stChatInputSubmitButton"], [data-testid$="FormSubmit"], [class*="st-key-suggested-"] button';
  const marked = '[data-testid="stFileChip"][aria-invalid="true"]';
  const attached = '.st-key-attach [data-testid="stFileChip"]:not([aria-invalid="true"])';

  // whether files of the box are on their way to the server, which counts those that it has
  const coming = () => {
    const taken = document.querySelector(".st-key-attach [data-taken]")?.dataset.taken ?? 0;
    return document.querySelectorAll(attached).length > Number(taken);
  };

  const sends = (event) =>
    event.type === "click"
      ? event.target.closest(buttons)
      : event.key === "Enter" && !event.shiftKey && event.target.matches("textarea, input");

  const conversation = () => new URLSearchParams(location.search).get("c");

  // sends what was held back once all files are there, unless one of them is refused, or another
  // conversation is shown meanwhile
  const later = (held) => {
    if (conversation() !== held) return;
    if (coming()) setTimeout(later, 50, held);
    else document.querySelector('[data-testid="stChatInputSubmitButton"]')?.click();
  };

  const hold = (event) => {
    if (!(event.target instanceof Element) || !sends(event)) return;
    const box = event.target.closest(boxes);
    const asks = !box?.matches('[data-testid="stForm"]');
    const refused = (asks && document.querySelector(`.st-key-attach ${marked}`)) || box?.querySelector(marked);
    const waits = asks && coming();
    if (!refused && !waits) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!refused && box) later(conversation());
  };

  // before Streamlit's own
  window.addEventListener("keydown", hold, true);
  window.addEventListener("click", hold, true);
})();
