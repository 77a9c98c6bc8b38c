// Brings pictures into view when a click has laid a map over them: the answer may be long, and the
// map may take long.
(() => {
  if (window.vqaLayers) return; // once for each page
  window.vqaLayers = true;
  const BUTTON = "st-key-look-", PICTURES = "st-key-layer-"; // and the id of the answer
  const SETTLING = 2_000; // ms in which the page grows, and Streamlit scrolls to its end
  let wanted = null; // the key of the pictures
  let until = null; // when they stop being brought into view

  const forget = (event) => {
    if (event.isTrusted) wanted = null; // somebody reads something else
  };
  for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"])
    addEventListener(kind, forget, { capture: true, passive: true });
  addEventListener("click", (event) => {
    const place = event.target.closest?.(`[class*="${BUTTON}"]`);
    if (!place) return;
    const name = [...place.classList].find((one) => one.startsWith(BUTTON));
    const key = name.replace(BUTTON, PICTURES);
    wanted = document.getElementsByClassName(key).length ? null : key; // or the click takes it away
    until = null;
  });
  setInterval(() => {
    const pictures = wanted && document.getElementsByClassName(wanted)[0];
    if (!pictures) return;
    until ??= performance.now() + SETTLING;
    if (performance.now() > until) wanted = null;
    const page = document.querySelector('[data-testid="stAppScrollToBottomContainer"]');
    page?.dispatchEvent(new Event("wheel")); // what ends Streamlit's own scrolling
    pictures.scrollIntoView({ block: "nearest" });
  }, 100);
})();
