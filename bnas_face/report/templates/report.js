"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse(document.getElementById("data").textContent);

  /* Tables: a click (or Enter) on a heading sorts within each protocol; undefined values stay last. */
  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const x = Number(a), y = Number(b);
    return sign * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y);
  };
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const first = head.classList.contains("num") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.setAttribute("aria-sort", one === head ? order : "none"));
      const sign = order === "ascending" ? 1 : -1, value = (row) => row.cells[column].dataset.sort;
      for (const body of table.tBodies)
        body.append(...all("tr:not(.group)", body).sort((a, b) => compare(value(a), value(b), sign)));
    }));
  }

  /* Curves: the legend hides models; pointer or arrow keys read the nearest measured point. */
  const areas = all(".area").map((node) => ({
    node, tip: node.parentElement.querySelector(".tip"), cursor: node.querySelector(".cursor"), model: null, point: -1,
    lines: all("path.line:not(.error)", node).map((path) => ({
      path, model: path.dataset.model, key: `${node.dataset.protocol}-${path.dataset.model}`,
      points: path.getAttribute("d").slice(1).split("L").map((pair) => pair.split(" ").map(Number)),
    })),
  }));
  const inside = ([x, y]) => x >= 0 && x <= 100 && y >= 0 && y <= 100;
  const shownLines = (area) => area.lines.filter((line) => !line.path.classList.contains("off") && line.points.some(inside));
  const percent = (value) => `${Number((100 * value).toFixed(3))} %`;
  const hide = (area) => { area.tip.hidden = area.cursor.hidden = true; area.model = null; };
  const show = (area, line, point) => {
    const curve = data.curves[line.key], [x, y] = line.points[point], own = data.models[line.model];
    const counts = (rate, n) => `${percent(rate)} (${Math.round(rate * n)} of ${n})`;
    const rows = curve.tips ? [...(own === undefined ? [] : [own]), ...curve.tips[point].split("\n")] : [own, `threshold ${curve.threshold[point].toFixed(3)}`,
      `FMR ${counts(curve.fmr[point], curve.n_impostor)}`, `FNMR ${counts(curve.fnmr[point], curve.n_genuine)}`];
    area.tip.replaceChildren(...rows.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    area.model = line.model; area.point = point;
    area.tip.hidden = area.cursor.hidden = false;
    area.cursor.style.left = `${x}%`; area.cursor.style.top = `${y}%`;
    area.tip.classList.toggle("left", x > 50); area.tip.classList.toggle("low", y < 50);
  };
  const nearest = (area, event) => {
    const box = area.node.getBoundingClientRect(), w = box.width / 100, h = box.height / 100;
    const px = (event.clientX - box.left) / w, py = (event.clientY - box.top) / h;
    let best = null;
    for (const line of shownLines(area)) line.points.forEach((at, point) => {
      const far = ((at[0] - px) * w) ** 2 + ((at[1] - py) * h) ** 2;
      if (inside(at) && (!best || far < best.far)) best = { line, point, far };
    });
    return best;
  };
  const step = (area, key) => {
    const lines = shownLines(area);
    if (!lines.length) return;
    let at = lines.findIndex((line) => line.model === area.model);
    const fresh = at < 0;
    if (fresh) at = 0;
    else if (key === "ArrowUp") at = (at + lines.length - 1) % lines.length;
    else if (key === "ArrowDown") at = (at + 1) % lines.length;
    const seen = lines[at].points.map((point, i) => [point[0], i]).filter(([, i]) => inside(lines[at].points[i]));
    seen.sort((a, b) => a[0] - b[0]);
    const x = fresh ? 50 : area.x;
    let place = seen.reduce((best, [far], i) => (Math.abs(far - x) < Math.abs(seen[best][0] - x) ? i : best), 0);
    const known = seen.findIndex(([, i]) => i === area.point);
    if (!fresh && key === "ArrowLeft") place = Math.max(0, known - 1);
    if (!fresh && key === "ArrowRight") place = Math.min(seen.length - 1, known + 1);
    area.x = seen[place][0];
    show(area, lines[at], seen[place][1]);
  };
  for (const area of areas) {
    area.node.addEventListener("pointermove", (event) => {
      const best = nearest(area, event);
      if (best) { area.x = best.line.points[best.point][0]; show(area, best.line, best.point); }
    });
    area.node.addEventListener("pointerleave", () => hide(area));
    area.node.addEventListener("blur", () => hide(area));
    area.node.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide(area);
      if (!event.key.startsWith("Arrow")) return;
      event.preventDefault();
      step(area, event.key);
    });
  }
  for (const box of all("[data-toggle]")) box.addEventListener("change", () => {
    all(`[data-model="${box.dataset.toggle}"]`, box.closest("section")).forEach((node) => node.classList.toggle("off", !box.checked));
    areas.forEach(hide);
  });

  /* Failures: filters by model, protocol, kind of error and who else failed. */
  const form = document.querySelector(".filters");
  if (form) {
    const cards = all(".card").map((node) => ({
      node, failed: new Set(node.dataset.failed.split(" ")), passed: new Set(node.dataset.passed.split(" ")),
    }));
    const couples = data.twins.map((twin, own) => [String(own), String(twin)]).filter(([, twin]) => twin !== "null");
    const fits = (card, who, [own, twin]) => (who === "own" ? card.failed.has(own) && card.passed.has(twin)
      : who === "twin" ? card.failed.has(twin) && card.passed.has(own) : card.failed.has(own) && card.failed.has(twin));
    const page = 12, more = document.getElementById("more");
    let limit = page;
    const filter = () => {
      const { model, protocol, kind, who } = Object.fromEntries(new FormData(form));
      const near = couples.filter((couple) => !model || couple.includes(model));
      let n = 0;
      for (const card of cards) {
        const on = (!model || card.failed.has(model) || (who && near.length)) && (!protocol || card.node.dataset.protocol === protocol)
          && (!kind || card.node.dataset.kind === kind) && (!who || near.some((couple) => fits(card, who, couple)));
        n += on;
        card.node.hidden = !on || n > limit;
      }
      document.getElementById("shown").textContent = (n < cards.length ? `${n} of ${cards.length} pairs fit` : `${n} pairs`)
        + (n > limit ? `, ${limit} shown` : "");
      more.parentElement.hidden = n <= limit;
      more.textContent = `Show ${Math.min(2 * page, n - limit)} more`;
      document.getElementById("none-shown").hidden = n > 0;
    };
    form.addEventListener("change", () => { limit = page; filter(); });
    more.addEventListener("click", () => { limit += 2 * page; filter(); });
    form.addEventListener("submit", (event) => event.preventDefault());
    filter();
  }

  /* Paper has no pointer: everything folded is opened for it. */
  addEventListener("beforeprint", () => all("details.slice").forEach((one) => { one.open = true; }));

  /* Copy: the clipboard where the browser grants it, else a selection the user can copy. */
  for (const button of all("[data-copy]")) button.addEventListener("click", async () => {
    const node = document.getElementById(button.dataset.copy);
    getSelection().selectAllChildren(node);
    try { await navigator.clipboard.writeText(node.textContent); button.textContent = "Copied"; }
    catch { button.textContent = document.execCommand("copy") ? "Copied" : "Selected"; }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
})();
