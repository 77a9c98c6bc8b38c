// Brings pictures into view when a click has laid a map over them: the answer may be long.
(() => {
  if (window.vqaLayers) return; // once for each page
  window.vqaLayers = true;
  const BUTTON = "st-key-look-", PICTURES = "st-key-layer-"; // and the id of the answer
  const LONGEST = 10_000; // ms: of a map that takes longer, the eyes are elsewhere

  window.addEventListener("click", (event) => {
    const place = event.target.closest?.(`[class*="${BUTTON}"]`);
    if (!place) return;
    const name = [...place.classList].find((one) => one.startsWith(BUTTON));
    const pictures = () => document.getElementsByClassName(name.replace(BUTTON, PICTURES))[0];
    if (pictures()) return; // the click takes the map away
    const observer = new MutationObserver(() => {
      if (!pictures()) return;
      observer.disconnect();
      pictures().scrollIntoView({ block: "nearest" });
    });
    observer.observe(document.body, { subtree: true, childList: true, attributeFilter: ["class"] });
    setTimeout(() => observer.disconnect(), LONGEST);
  });
})();
