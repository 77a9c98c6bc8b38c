// A picture with zoom and panning, in which a part is marked. What is marked goes to the server as
// `box`: left, top, right and bottom, in shares of the picture; null where nothing is.
const MOST = 16; // times as large as the stage shows all of it
const STEP = 1.4; // of the buttons and keys
const KEY = 40; // pixels that an arrow moves the picture
const SHARE = 0.02; // of the picture, by which an arrow moves or resizes the box
const views = new WeakMap(); // a theme that changes runs all this again, on the same elements

const within = (value, low, high) => Math.min(Math.max(value, low), high);

export default function ({ data, parentElement, setStateValue }) {
  const find = (selector) => parentElement.querySelector(selector);
  const [stage, picture, image, frame, output] = [".stage", ".picture", "img", ".box", "output"].map(find);
  const inputs = [...parentElement.querySelectorAll("input")];
  const { words, size } = data;
  const view = views.get(parentElement) ?? { scale: 1, x: 0.5, y: 0.5, marking: false, box: data.box };
  if (!views.has(parentElement)) stage.focus({ preventScroll: true });
  views.set(parentElement, view); // x and y: which point of the picture is in the middle

  // --- drawing ---
  const fit = () => Math.min(stage.clientWidth / size[0], stage.clientHeight / size[1]);
  const draw = () => {
    const [width, height] = size.map((side) => side * fit() * view.scale);
    const middle = (at, side, room) => (side <= room ? 0.5 : within(at, room / 2 / side, 1 - room / 2 / side));
    view.x = middle(view.x, width, stage.clientWidth);
    view.y = middle(view.y, height, stage.clientHeight);
    Object.assign(picture.style, {
      width: `${width}px`, height: `${height}px`,
      left: `${stage.clientWidth / 2 - view.x * width}px`, top: `${stage.clientHeight / 2 - view.y * height}px`,
    });
    stage.classList.toggle("marking", view.marking);
    find(".mark").setAttribute("aria-pressed", view.marking);
    frame.hidden = find(".remove").hidden = !view.box;
    const percent = (share) => `${100 * share}%`;
    if (view.box) {
      const [left, top, right, bottom] = view.box;
      Object.assign(frame.style, {
        left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top),
      });
    }
    const shown = (share) => Math.round(1000 * share) / 10;
    const [left, top, right, bottom] = (view.box ?? [0, 0, 0, 0]).map(shown);
    output.value = view.box ? `x ${left}-${right} %, y ${top}-${bottom} %` : view.marking ? words.how : "";
    [left, top, shown((view.box?.[2] ?? 0) - (view.box?.[0] ?? 0)), shown((view.box?.[3] ?? 0) - (view.box?.[1] ?? 0))]
      .forEach((value, at) => { if (document.activeElement !== inputs[at]) inputs[at].value = view.box ? value : ""; });
  };

  // --- zoom and panning ---
  const zoom = (factor, point) => {
    const around = stage.getBoundingClientRect();
    const fromMiddle = point
      ? [point.clientX - around.left - around.width / 2, point.clientY - around.top - around.height / 2]
      : [0, 0];
    const now = size.map((side) => side * fit() * view.scale);
    view.scale = within(view.scale * factor, 1, MOST);
    const then = size.map((side) => side * fit() * view.scale);
    view.x += fromMiddle[0] / now[0] - fromMiddle[0] / then[0]; // what is at the point stays there
    view.y += fromMiddle[1] / now[1] - fromMiddle[1] / then[1];
    draw();
  };
  const pan = (right, down) => {
    view.x -= right / picture.offsetWidth;
    view.y -= down / picture.offsetHeight;
    draw();
  };

  // --- the box ---
  const isLargeEnough = ([left, top, right, bottom]) =>
    Math.round(right * size[0]) - Math.round(left * size[0]) >= data.least &&
    Math.round(bottom * size[1]) - Math.round(top * size[1]) >= data.least;
  let later = 0; // sends when the last key was pressed
  const mark = (box, wait = 0) => {
    if (box && !isLargeEnough(box)) return false;
    view.box = box;
    draw();
    clearTimeout(later);
    later = setTimeout(() => setStateValue("box", box), wait);
    return true;
  };
  const place = (event) => {
    const around = picture.getBoundingClientRect();
    return [
      within((event.clientX - around.left) / around.width, 0, 1),
      within((event.clientY - around.top) / around.height, 0, 1),
    ];
  };
  const between = (one, other) => [
    Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[0], other[0]), Math.max(one[1], other[1]),
  ];
  const setMarking = (marking) => {
    view.marking = marking;
    draw();
  };

  // --- mouse and fingers ---
  const pointers = new Map();
  let start = null; // where a box begins, and the one before it
  const distance = () => {
    const [one, other] = [...pointers.values()];
    return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
  };
  stage.onpointerdown = (event) => {
    if (event.button) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    if (start && pointers.size > 1) { // two fingers zoom
      view.box = start.before;
      start = null;
      draw();
    } else if (view.marking && pointers.size === 1) start = { at: place(event), before: view.box };
  };
  stage.onpointermove = (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const apart = pointers.size === 2 ? distance() : 0;
    pointers.set(event.pointerId, event);
    if (start) {
      view.box = between(start.at, place(event));
      draw();
      return;
    }
    pan((event.clientX - before.clientX) / pointers.size, (event.clientY - before.clientY) / pointers.size);
    if (apart) {
      const [one, other] = [...pointers.values()];
      const middle = { clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2 };
      zoom(distance() / apart, middle);
    }
  };
  const lifted = (event) => {
    pointers.delete(event.pointerId);
    if (!start) return;
    const { at, before } = start;
    start = null;
    const ended = event.type === "pointerup" && mark(between(at, place(event)));
    if (ended) setMarking(false);
    else {
      view.box = before;
      draw();
      if (event.type === "pointerup") output.value = words.small;
    }
  };
  stage.onpointerup = lifted;
  stage.onpointercancel = lifted;
  stage.onwheel = (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / (event.deltaMode ? 20 : 400)), event);
  };
  stage.ondblclick = (event) => !view.marking && zoom(view.scale > 1 ? 1 / MOST : 2.5, event);

  // --- keys and buttons ---
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const moved = (right, down, resizes) => {
    const [left, top, end, bottom] = view.box ?? [0.25, 0.25, 0.75, 0.75];
    if (!view.box) return [left, top, end, bottom];
    if (resizes) return [left, top, within(end + right * SHARE, 0, 1), within(bottom + down * SHARE, 0, 1)];
    const [x, y] = [within(right * SHARE, -left, 1 - end), within(down * SHARE, -top, 1 - bottom)];
    return [left + x, top + y, end + x, bottom + y].map((share) => within(share, 0, 1));
  };
  stage.onkeydown = (event) => {
    const arrow = arrows[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrow && view.marking) mark(moved(...arrow, event.shiftKey), 300);
    else if (arrow) pan(-arrow[0] * KEY, -arrow[1] * KEY);
    else if (event.key === "+" || event.key === "=") zoom(STEP);
    else if (event.key === "-") zoom(1 / STEP);
    else if (event.key === "0") zoom(1 / MOST);
    else return;
    event.preventDefault();
  };
  find(".mark").onclick = () => {
    setMarking(!view.marking);
    if (view.marking) stage.focus();
  };
  find(".remove").onclick = () => {
    mark(null);
    find(".mark").focus();
  };
  find(".in").onclick = () => zoom(STEP);
  find(".out").onclick = () => zoom(1 / STEP);
  find(".fit").onclick = () => zoom(1 / MOST);
  for (const input of inputs)
    input.onchange = () => {
      const [left, top, width, height] = inputs.map((one) => Number(one.value) / 100);
      if (inputs.some((one) => one.value === "")) return;
      const box = [left, top, left + width, top + height].map((share) => within(share, 0, 1));
      if (!mark(box)) output.value = words.small;
    };

  // --- words ---
  stage.setAttribute("aria-label", `${data.name}. ${words.keys}`);
  image.alt = data.name;
  if (image.src !== data.url) image.src = data.url;
  find(".mark").textContent = words.mark;
  find(".remove").textContent = words.remove;
  find(".fit").textContent = words.fit;
  for (const [name, label] of [[".in", words.in], [".out", words.out]]) {
    find(name).setAttribute("aria-label", label);
    find(name).title = label;
  }
  find("summary").textContent = words.numbers;
  parentElement.querySelectorAll("label span").forEach((span, at) => {
    span.textContent = [words.left, words.top, words.width, words.height][at];
  });

  const observer = new ResizeObserver(draw);
  observer.observe(stage);
  draw();
  return () => observer.disconnect();
}
