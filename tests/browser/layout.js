// What is wrong with how a page is laid out, a line each: run in the page by layout.py.
() => {
  const SLACK = 1.5;  // pixels: boxes lie between pixels
  const CONTROLS = "button, input, select, textarea, progress, meter, canvas, img, a.button, label.button";
  const found = [];
  const named = (element) => {
    const text = (element.textContent ?? "").trim().replace(/\s+/g, " ").slice(0, 40);
    const classes = [...element.classList].map((name) => `.${name}`).join("");
    return `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""}${classes} «${text}»`;
  };
  const clips = (element) => {  // what is beyond its edges is not painted over others, or scrolls
    const { overflowX, overflowY, contain } = getComputedStyle(element);
    return overflowX !== "visible" || overflowY !== "visible" || /paint|strict|content/.test(contain);
  };
  const shown = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  /** Where it can be seen: its box, cut by everything around it that clips. */
  const seen = (element) => {
    let { left, top, right, bottom } = element.getBoundingClientRect();
    for (let around = element.parentElement; around && around !== document.body; around = around.parentElement) {
      if (!clips(around)) continue;
      const box = around.getBoundingClientRect();
      [left, top] = [Math.max(left, box.left), Math.max(top, box.top)];
      [right, bottom] = [Math.min(right, box.right), Math.min(bottom, box.bottom)];
    }
    return { left, top, right, bottom, empty: right - left < 1 || bottom - top < 1 };
  };
  if (document.documentElement.scrollWidth > innerWidth + SLACK) {
    found.push(`the page is ${document.documentElement.scrollWidth} px wide, its window ${innerWidth}`);
  }
  const unseen = ".skip, .hidden-input, #js-plotly-tester";
  const all = [...document.body.querySelectorAll("*")].filter((one) => shown(one) && !one.closest(unseen));
  for (const element of all) {
    if (element.closest("svg") && element.tagName.toLowerCase() !== "svg") continue;  // the chart is judged, not its parts
    const box = seen(element);
    if (box.empty) continue;
    if (box.right > innerWidth + SLACK || box.left < -SLACK) {
      found.push(`${named(element)} is painted from ${box.left} to ${box.right} px`);
    }
    const around = element.parentElement;
    const { position, float } = getComputedStyle(element);
    if (position === "fixed" || position === "absolute" || float !== "none" || around === document.body) continue;
    if (around.tagName === "LABEL" || ["inline", "contents"].includes(getComputedStyle(around).display)) continue;
    const outer = around.getBoundingClientRect();
    const beside = box.right > outer.right + SLACK || box.left < outer.left - SLACK;
    if (beside || box.bottom > outer.bottom + SLACK || box.top < outer.top - SLACK) {
      found.push(`${named(element)} is painted outside of ${named(around)}`);
    }
  }
  // charts: what Plotly draws lies in an absolutely placed box
  for (const drawn of document.querySelectorAll(".plot svg.main-svg")) {
    const [inner, outer] = [drawn.getBoundingClientRect(), drawn.closest(".plot").getBoundingClientRect()];
    if (inner.width && (inner.right > outer.right + SLACK || inner.bottom > outer.bottom + SLACK)) {
      found.push(`a chart of ${inner.width} x ${inner.height} px lies in a box of ${outer.width} x ${outer.height}`);
    }
  }
  // texts and controls, each with the rectangles of its own lines
  const pieces = [];
  for (const element of all) {
    if (element.closest("svg, option, noscript, [aria-hidden=true]")) continue;
    const outer = seen(element);
    if (outer.empty) continue;
    const add = (rectangle) => {
      const piece = {
        element, left: Math.max(rectangle.left, outer.left), top: Math.max(rectangle.top, outer.top),
        right: Math.min(rectangle.right, outer.right), bottom: Math.min(rectangle.bottom, outer.bottom),
      };
      if (piece.right - piece.left > 1 && piece.bottom - piece.top > 1) pieces.push(piece);
    };
    if (element.matches(CONTROLS)) add(element.getBoundingClientRect());
    else {
      for (const node of element.childNodes) {
        if (node.nodeType !== Node.TEXT_NODE || !node.data.trim()) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        for (const rectangle of range.getClientRects()) add(rectangle);
      }
    }
  }
  const above = (element) => element.closest("#notices, dialog, .zoom, .peek, .legend.scale");  // lies over others on purpose
  for (const [at, one] of pieces.entries()) {
    for (const other of pieces.slice(at + 1)) {
      if (one.element === other.element || one.element.contains(other.element) || other.element.contains(one.element)) continue;
      if (above(one.element) !== above(other.element)) continue;
      const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (wide > 2 && high > 4) found.push(`${named(one.element)} and ${named(other.element)} overlap by ${wide} x ${high} px`);
    }
  }
  return [...new Set(found)];
}
