// The box for questions: what is typed stays with its conversation, files from anywhere on the page
// become its pictures, and it has the focus whenever nothing else needs it.
(() => {
  if (window.vqaBox) return; // once for each page
  window.vqaBox = true;
  const find = (selector) => document.querySelector(selector);
  const area = () => find('[data-testid="stChatInputTextArea"]');
  const asked = '[data-testid="stChatInputSubmitButton"], [class*="st-key-suggested-"] button';

  // --- text ---
  let place = null; // the box, and whose text it shows
  let sent = false; // a first question: with it the conversation gets its name

  const name = () => "vqa " + (new URLSearchParams(location.search).get("c") ?? "");
  const write = (box, text) => {
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const store = (box) => {
    place = { box, name: name() };
    if (box.value) sessionStorage.setItem(place.name, box.value);
    else sessionStorage.removeItem(place.name);
  };
  const keep = () => {
    const box = area();
    if (!box) return (place = null);
    const renamed = place?.box === box && place.name !== name();
    const begun = renamed && sent && place.name === "vqa ";
    if (renamed) sent = false;
    if (begun) sessionStorage.removeItem(place.name);
    else if (place?.box !== box || renamed) {
      const text = sessionStorage.getItem(name()) ?? "";
      if (box.value !== text && (text || renamed)) write(box, text);
    } else {
      const typed = sessionStorage.getItem(name()); // a question that comes back lost it
      if (typed && box.value && box.value !== typed) write(box, `${box.value}\n${typed}`);
    }
    store(box);
  };

  // --- files ---
  const give = (files) => {
    const input = find(".st-key-attach input[type=file]");
    if (!input || !files?.length) return false;
    const data = new DataTransfer();
    for (const file of files) data.items.add(file);
    input.files = data.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  };
  const instead = (event, files) => {
    if (!give(files)) return false;
    event.preventDefault();
    event.stopImmediatePropagation();
    return true;
  };
  const chosen = (event) => {
    if (!event.target.matches('[data-testid="stChatInput"] input[type=file]')) return;
    if (instead(event, [...event.target.files])) event.target.value = ""; // or the same file could not be chosen again
  };
  const over = (event) => {
    if (event.dataTransfer?.types.includes("Files") && find(".st-key-attach")) event.preventDefault();
  };

  // --- focus, and Enter in what else is written ---
  let wanted = false; // by a click, until the page is drawn
  let editor = null; // what stood open to be written in a moment ago
  const elsewhere = "input, textarea, select, [contenteditable], [data-testid=stPopoverBody]";
  const SETTLING = 3_000; // ms in which the page is drawn anew once a window has closed
  let menu = null; // the class of the one by which a window was opened
  let isOpen = false; // a window
  let closed = -SETTLING; // when the last one was
  const isDrawn = () => find('[data-testid="stApp"]')?.dataset.testScriptState === "notRunning";
  const goBack = () => {
    if (isOpen && !find("[role=dialog]")) closed = performance.now();
    isOpen = Boolean(find("[role=dialog]"));
    if (isOpen || performance.now() > closed + SETTLING || !isDrawn()) return;
    if (document.activeElement !== document.body) return;
    const button = menu && find(`.${menu} button`);
    wanted = !button; // it is gone with what was deleted
    button?.focus({ preventScroll: true });
  };
  const focus = () => {
    const before = editor;
    editor = find('[role=dialog] [data-testid="stForm"] :is(textarea, input), [role=dialog] textarea')
      ?? (find("[role=dialog]") ? null : find('[data-testid="stChatMessage"] textarea'));
    if (editor && editor !== before) editor.focus(); // however long the run of the script took to draw it
    if (!wanted || !isDrawn() || !area() || area().disabled) return;
    wanted = false;
    if (document.activeElement?.closest(elsewhere) || editor || find("[role=dialog]")) return;
    if (!matchMedia("(pointer: coarse)").matches) area().focus({ preventScroll: true }); // no keyboard
  };
  const clicked = (event) => {
    const button = event.target.closest?.("button, [role=menuitem]");
    const opens = event.target.closest?.('[class*="st-key-more-"], [class*="st-key-menu-"]');
    if (opens) menu = [...opens.classList].find((name) => /^st-key-(more|menu)-/.test(name));
    else if (!event.target.closest?.("[role=menu], [role=dialog]")) menu = null;
    if (event.target.closest?.(asked)) sent = true;
    if (event.target.closest?.('[class*="st-key-open-"]')) sent = false;
    if (!button || button.closest('[role=dialog], [data-testid="stPopover"]')) return;
    if (button.closest('.st-key-show-more, [data-testid="stTextInput"]')) return; // something else is looked for
    if (button.hasAttribute("aria-expanded") || button.hasAttribute("aria-haspopup")) return;
    setTimeout(() => (wanted = true), 150); // the click has its run of the script by then
  };
  const pressed = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    if (event.target === area()) sent = true;
    else if (matchMedia("(pointer: coarse)").matches) return; // a phone has no Shift to hold
    else if (event.target.matches('[data-testid="stForm"] textarea') && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      const init = { key: "Enter", ctrlKey: true, bubbles: true, cancelable: true };
      event.target.dispatchEvent(new KeyboardEvent("keydown", init)); // which sends a form of Streamlit's
    }
  };

  window.addEventListener("change", chosen, true);
  window.addEventListener("paste", (event) => instead(event, event.clipboardData?.files), true);
  window.addEventListener("drop", (event) => instead(event, event.dataTransfer?.files), true);
  window.addEventListener("dragover", over, true);
  window.addEventListener("input", (event) => event.target === area() && store(area()), true);
  window.addEventListener("click", clicked, true);
  window.addEventListener("keydown", pressed, true);
  setInterval(() => (keep(), goBack(), focus()), 100);
})();
