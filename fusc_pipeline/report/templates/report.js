"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const groups = byId("groups");
  const tools = byId("tools");

  if (groups && tools) {
    tools.hidden = false;
    tools.addEventListener("submit", (event) => event.preventDefault());
    const order = byId("order"), view = byId("view"), size = byId("size"), found = byId("found");
    const cards = [...groups.children];
    const keys = {
      purity: (card) => Number(card.dataset.place),
      mixed: (card) => -Number(card.dataset.place),
      size: (card) => -Number(card.dataset.size),
      number: (card) => Number(card.dataset.number),
    };
    const arrange = () => {
      const key = keys[order.value];
      cards.sort((a, b) => key(a) - key(b) || a.dataset.number - b.dataset.number);
      groups.append(...cards);
      const wanted = view ? view.value : "";
      for (const card of cards) card.hidden = wanted !== "" && !card.dataset.views.split("|").includes(wanted);
      const shown = cards.filter((card) => !card.hidden).length;
      found.textContent = wanted ? `${shown} of ${cards.length} groups` : "";
    };
    order.addEventListener("change", arrange);
    if (view) view.addEventListener("change", arrange);
    const resize = () => groups.style.setProperty("--shot", `${size.value}px`);
    size.addEventListener("input", resize);
    // A reload keeps what was chosen in the form, so the page must follow it.
    arrange();
    if (size.value !== size.defaultValue) resize();
  }

  const viewer = byId("viewer");
  let current = null;
  const show = (button) => {
    current = button;
    const figure = button.closest("figure"), card = button.closest(".group");
    const large = viewer.querySelector("img"), small = button.querySelector("img");
    large.src = small.src;
    large.alt = small.alt;
    const parts = [card.querySelector("h3").textContent.replace(/\s+/g, " ").trim()];
    for (const span of figure.querySelectorAll("figcaption span")) parts.push(span.textContent.trim());
    parts.push(`image ${figure.querySelector(".code").textContent}`);
    viewer.querySelector("p").textContent = parts.join(" · ");
    if (!viewer.open) viewer.showModal();
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".zoom");
    if (button) show(button);
    else if (event.target === viewer) viewer.close();
  });
  viewer.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !current) return;
    const all = [...document.querySelectorAll(".group:not([hidden]) .zoom")];
    const next = all[all.indexOf(current) + step];
    if (next) { next.scrollIntoView({ block: "nearest" }); show(next); }
  });
  viewer.addEventListener("close", () => { if (current) current.focus(); });

  // What is folded on screen belongs on paper.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => { for (const part of folded) part.open = false; });
})();
