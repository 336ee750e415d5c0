"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const { sample, views, items } = JSON.parse(byId("data").textContent);
  const key = `fusc-label-audit-${sample}`;
  const NONE = "none of the fifteen";
  const LETTERS = "abcdefghijklmopq"; // "n" goes to the first frame without an answer
  let answers = {}, here = 0, kept = true;

  try {
    const known = new Set(items.map((item) => item.id));
    const saved = JSON.parse(localStorage.getItem(key) || "{}");
    for (const [id, given] of Object.entries(saved)) if (known.has(id)) answers[id] = given;
  } catch { kept = false; }
  const keep = () => {
    try { localStorage.setItem(key, JSON.stringify(answers)); } catch { kept = false; }
    byId("warning").hidden = kept;
  };

  const complete = (given) => given && (given.answer !== "wrong" || given.view !== undefined);
  const squares = items.map((item, place) => {
    const square = document.createElement("button");
    square.type = "button";
    square.addEventListener("click", () => show(place));
    byId("overview").append(square);
    return square;
  });
  const viewButtons = [...views, NONE].map((view, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.view = view;
    const mark = document.createElement("kbd");
    mark.textContent = LETTERS[place];
    button.append(mark, ` ${view === NONE ? "None of the fifteen" : view}`);
    button.addEventListener("click", () => chooseView(view));
    byId("view-buttons").append(button);
    return button;
  });

  const tally = () => {
    const done = items.filter((item) => complete(answers[item.id])).length;
    byId("progress").value = done;
    byId("count").textContent = `${done} of ${items.length} judged`;
    items.forEach((item, place) => {
      const given = answers[item.id];
      squares[place].className = `${complete(given) ? given.answer : ""}${place === here ? " here" : ""}`;
      squares[place].title = `Frame ${place + 1}${complete(given) ? `: ${given.answer}` : ""}`;
      squares[place].setAttribute("aria-label", squares[place].title);
    });
  };

  const show = (place) => {
    here = Math.max(0, Math.min(items.length - 1, place));
    const item = items[here], given = answers[item.id];
    const labelled = item.label !== null;
    byId("question").textContent = labelled ? "The screen says" : "Text inside the picture, taken for no label";
    byId("crops").replaceChildren(...item.crops.map((uri) => {
      const image = document.createElement("img");
      image.src = uri;
      image.alt = "Words on the delivered screen";
      return image;
    }));
    byId("nothing").hidden = item.crops.length > 0;
    const match = byId("match"), name = document.createElement("b");
    name.textContent = labelled ? item.label : "No label";
    match.replaceChildren(labelled ? "taken for" : "This frame has", name,
      labelled ? `by the entry “${item.alias}”, score ${item.score}` : "Does the text name a view?");
    byId("frame").src = item.frame;
    byId("say-right").textContent = labelled ? "Right" : "Right: it names none";
    byId("say-wrong").textContent = labelled ? "Wrong…" : "It names a view…";
    byId("which").textContent = labelled ? "What should the label be?" : "Which view does it name?";
    for (const button of document.querySelectorAll("[data-answer]"))
      button.setAttribute("aria-pressed", String(Boolean(given) && given.answer === button.dataset.answer));
    byId("views").hidden = !(given && given.answer === "wrong");
    for (const button of viewButtons) {
      const view = button.dataset.view;
      const chosen = given && given.answer === "wrong" && given.view !== undefined && (given.view ?? NONE) === view;
      button.setAttribute("aria-pressed", String(Boolean(chosen)));
      // The label itself cannot be the correction, nor "none" a missed label.
      button.hidden = labelled ? view === item.label : view === NONE;
    }
    byId("place").textContent = `Frame ${here + 1} of ${items.length}`;
    tally();
  };

  const choose = (answer) => {
    answers[items[here].id] = { answer };
    keep();
    if (answer === "wrong") show(here);
    else show(here + 1);
  };
  const chooseView = (view) => {
    answers[items[here].id] = { answer: "wrong", view: view === NONE ? null : view };
    keep();
    show(here + 1);
  };
  const firstOpen = () => {
    const place = items.findIndex((item) => !complete(answers[item.id]));
    show(place < 0 ? here : place);
  };

  for (const button of document.querySelectorAll("[data-answer]"))
    button.addEventListener("click", () => choose(button.dataset.answer));
  byId("back").addEventListener("click", () => show(here - 1));
  byId("next").addEventListener("click", () => show(here + 1));
  byId("open").addEventListener("click", firstOpen);
  byId("save").addEventListener("click", () => {
    const done = Object.fromEntries(Object.entries(answers).filter(([, given]) => complete(given)));
    const text = JSON.stringify({ sample, answers: done }, null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `answers-${sample}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const pressed = event.key.toLowerCase();
    const answer = { 1: "right", 2: "wrong", 3: "unclear" }[pressed];
    if (answer) choose(answer);
    else if (event.key === "ArrowLeft") show(here - 1);
    else if (event.key === "ArrowRight") show(here + 1);
    else if (pressed === "n") firstOpen();
    else if (!byId("views").hidden && pressed.length === 1 && LETTERS.includes(pressed)) {
      const button = viewButtons[LETTERS.indexOf(pressed)];
      if (button && !button.hidden) chooseView(button.dataset.view);
    } else return;
    event.preventDefault();
  });

  byId("warning").hidden = kept;
  firstOpen();
})();
