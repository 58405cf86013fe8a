"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const items = data.items;
  const choices = new Set(data.choices.map((c) => c.choice));
  const choiceOfKey = new Map(data.choices.map((c) => [c.key, c.choice]));
  const labelOf = new Map(data.choices.map((c) => [c.choice, c.label]));
  const known = new Set(items.map((item) => item.row_id));
  const storageKey = `${data.format}/${data.package}/${data.annotator}`;
  const $ = (id) => document.getElementById(id);

  // What is kept in the browser. `exported` is the number of changes that the last export held.
  let state = { answers: {}, at: 0, changes: 0, exported: 0 };
  let stored = true;

  function load() {
    try {
      const text = localStorage.getItem(storageKey);
      if (!text) return;
      const read = JSON.parse(text);
      const answers = {};
      for (const [item, choice] of Object.entries(read.answers || {})) {
        if (known.has(item) && choices.has(choice)) answers[item] = choice;
      }
      state = {
        answers,
        at: Math.min(Math.max(Number(read.at) || 0, 0), items.length - 1),
        changes: Number(read.changes) || 0,
        exported: Number(read.exported) || 0,
      };
    } catch (error) {
      stored = false;
    }
  }

  function save() {
    try {
      localStorage.setItem(storageKey, JSON.stringify(state));
    } catch (error) {
      stored = false;
    }
    if (!stored) notice("This browser keeps nothing for this page. Export your answers before you close it.", true);
  }

  window.addEventListener("beforeunload", (event) => {
    if (!stored && state.changes > state.exported) event.preventDefault();  // the browser asks whether to leave
  });

  // Texts are only ever set as textContent. A fenced block becomes a <pre> with its fences; all characters stay.
  function show(element, text) {
    element.replaceChildren();
    if (text === "") {
      const empty = document.createElement("span");
      empty.className = "empty";
      empty.textContent = "empty answer";
      element.append(empty);
      return;
    }
    let block = "", fenced = false;
    const flush = (tag) => {
      if (block === "") return;
      const part = document.createElement(tag);
      part.textContent = block;
      element.append(part);
      block = "";
    };
    for (const line of text.match(/[^\n]*\n|[^\n]+$/g)) {
      const fence = /^\s*```/.test(line);
      if (fence && !fenced) flush("div");
      block += line;
      if (fence && fenced) flush("pre");
      if (fence) fenced = !fenced;
    }
    flush(fenced ? "pre" : "div");
  }

  function notice(text, warning = false) {
    $("notice").textContent = text;
    $("notice").classList.toggle("warning", warning);
    $("notice").hidden = text === "";
  }

  const numAnswered = () => Object.keys(state.answers).length;

  const dots = items.map((item, index) => {
    const dot = document.createElement("button");
    dot.type = "button";
    dot.tabIndex = -1;
    dot.addEventListener("click", () => go(index));
    $("dots").append(dot);
    return dot;
  });

  function render() {
    const item = items[state.at];
    const choice = state.answers[item.row_id];
    const answered = numAnswered();
    $("count").textContent = `${answered} of ${items.length} answered`;
    $("where").textContent = `Item ${state.at + 1} of ${items.length}`;
    $("state").textContent = choice ? labelOf.get(choice) : "";
    show($("instruction"), item.instruction);
    show($("input"), item.input);
    $("input-block").hidden = item.input === "";
    for (const letter of ["A", "B"]) {
      show($(`answer-${letter}`), letter === "A" ? item.answer_a : item.answer_b);
      $(`card-${letter}`).classList.toggle("chosen", choice === letter || choice === "tie");
    }
    for (const button of document.querySelectorAll(".choice")) {
      button.setAttribute("aria-pressed", String(button.dataset.choice === choice));
    }
    dots.forEach((dot, index) => {
      const done = items[index].row_id in state.answers;
      dot.classList.toggle("answered", done);
      dot.classList.toggle("current", index === state.at);
      dot.title = `Item ${index + 1}${done ? "" : ", not answered"}`;
      dot.setAttribute("aria-label", dot.title);
    });
    $("previous").disabled = state.at === 0;
    $("next").disabled = state.at === items.length - 1;
    $("open").disabled = answered === items.length;
    $("clear").disabled = !choice;
    const due = state.changes - state.exported;
    $("export").classList.toggle("due", due > 0 && answered === items.length);
    $("export-label").textContent = answered === 0 || due > 0 ? "Export answers" : "Exported";
  }

  function go(index) {
    state.at = Math.min(Math.max(index, 0), items.length - 1);
    notice("");
    save();
    render();
    $("main").scrollTop = 0;
    $("main").focus({ preventScroll: true });  // so that up, down and space scroll the texts
    dots[state.at].scrollIntoView({ block: "nearest" });
  }

  // The next item without an answer after this one, from the start again if there is none; -1 if all are answered.
  function nextUnanswered() {
    for (let step = 1; step <= items.length; step++) {
      const index = (state.at + step) % items.length;
      if (!(items[index].row_id in state.answers)) return index;
    }
    return -1;
  }

  function choose(choice) {
    const fresh = !(items[state.at].row_id in state.answers);
    state.answers[items[state.at].row_id] = choice;
    state.changes += 1;
    $("guide").open = false;
    if (numAnswered() === items.length) {
      save();
      render();
      const kept = stored ? "" : " This browser keeps nothing for this page, so do it before you close it.";
      if (fresh) notice(`All ${items.length} items are answered. Export your answers and send the file back.${kept}`, !stored);
      return;
    }
    // A new answer leads on to what is still open; a changed one stays, so that it can be seen.
    if (fresh) go(nextUnanswered());
    else { save(); render(); }
  }

  function clear() {
    if (!(items[state.at].row_id in state.answers)) return;
    delete state.answers[items[state.at].row_id];
    state.changes += 1;
    save();
    render();
  }

  function exportAnswers() {
    const answers = items
      .filter((item) => item.row_id in state.answers)
      .map((item) => ({ item: item.row_id, choice: state.answers[item.row_id] }));
    const content = {
      format: data.format, package: data.package, annotator: data.annotator,
      answered: answers.length, missing: items.length - answers.length, answers,
    };
    const url = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1) + "\n"], { type: "application/json" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = `${data.annotator}.${data.package.slice(0, 8)}.answers.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    state.exported = state.changes;
    save();
    render();
    const missing = content.missing ? ` ${content.missing} of ${items.length} items have no answer yet.` : "";
    notice(`Saved as ${link.download} in your downloads.${missing}`);
  }

  async function importAnswers(file) {
    let read;
    try {
      read = JSON.parse(await file.text());
    } catch (error) {
      return notice(`${file.name} is not a file that this page exported.`, true);
    }
    if (read === null || read.format !== data.format || !Array.isArray(read.answers)) {
      return notice(`${file.name} is not a file that this page exported.`, true);
    }
    if (read.package !== data.package || read.annotator !== data.annotator) {
      return notice(
        `${file.name} belongs to ${read.annotator}, package ${String(read.package).slice(0, 8)}; this page is for ` +
        `${data.annotator}, package ${data.package.slice(0, 8)}.`, true);
    }
    const good = read.answers.filter((a) => a && known.has(a.item) && choices.has(a.choice));
    if (good.length !== read.answers.length) {
      return notice(`${file.name} holds answers that do not belong to this package. Nothing was imported.`, true);
    }
    if (new Set(good.map((a) => a.item)).size !== good.length) {
      return notice(`${file.name} answers an item twice. Nothing was imported.`, true);
    }
    const differing = good.filter((a) => a.item in state.answers && state.answers[a.item] !== a.choice);
    const take = differing.length === 0 || window.confirm(
      `${differing.length} of the answers in the file differ from those here. Take those of the file?`);
    for (const { item, choice } of good) {
      if (take || !(item in state.answers)) state.answers[item] = choice;
    }
    state.changes += 1;
    const open = nextUnanswered();
    go(open === -1 ? state.at : open);
    notice(`${good.length} answers read from ${file.name}.`);
  }

  function toggleMono() {
    const on = document.body.classList.toggle("mono");
    $("mono").setAttribute("aria-pressed", String(on));
  }

  const openNext = () => { const index = nextUnanswered(); if (index !== -1) go(index); };
  const actions = new Map([
    ["ArrowLeft", () => go(state.at - 1)], ["ArrowRight", () => go(state.at + 1)],
    ["n", openNext], ["e", exportAnswers], ["m", toggleMono], ["Delete", clear], ["Backspace", clear],
  ]);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = event.key.startsWith("Arrow");
    const choice = choiceOfKey.get(event.key);
    const action = choice ? () => choose(choice) : actions.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (!action) return;
    event.preventDefault();
    // A key held down may turn pages, but must not answer item after item.
    if (!event.repeat || moves) action();
  });

  for (const button of document.querySelectorAll(".choice")) {
    button.addEventListener("click", () => choose(button.dataset.choice));
  }
  $("previous").addEventListener("click", () => go(state.at - 1));
  $("next").addEventListener("click", () => go(state.at + 1));
  $("open").addEventListener("click", openNext);
  $("clear").addEventListener("click", clear);
  $("mono").addEventListener("click", toggleMono);
  $("export").addEventListener("click", exportAnswers);
  $("import").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    const file = $("file").files[0];
    if (file) importAnswers(file).finally(() => { $("file").value = ""; });
  });
  // The same page in another tab: take over what was answered there.
  window.addEventListener("storage", (event) => {
    if (event.key !== storageKey) return;
    const at = state.at;
    load();
    state.at = at;
    render();
  });

  load();
  $("guide").open = numAnswered() === 0;
  render();
  save();
  $("main").focus({ preventScroll: true });
})();
