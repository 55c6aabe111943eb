"use strict";
// An editor in place of a text field, which keeps the field up to date. Without it, the field works as it is.
(() => {
  const field = document.querySelector("textarea[data-editor]");
  if (!field || !window.ace) return;
  const ace = window.ace;
  ace.config.set("useStrictCSP", true);
  ace.config.set("loadWorkerFromBlob", false);
  const box = document.createElement("div");
  box.className = "editor";
  field.before(box);
  field.hidden = true;
  field.required = false;
  const editor = ace.edit(box, {
    mode: "ace/mode/pgsql", value: field.value, fontSize: 13, tabSize: 2, useSoftTabs: true, useWorker: false, showPrintMargin: false, wrap: true,
    minLines: Number(field.rows) || 10, maxLines: 40, placeholder: field.placeholder, enableKeyboardAccessibility: true,
    enableBasicAutocompletion: true, enableLiveAutocompletion: true, enableSnippets: false,
  });
  editor.setTheme({ cssClass: "ace-console", isDark: matchMedia("(prefers-color-scheme: dark)").matches });
  editor.session.on("change", () => { field.value = editor.getValue(); unmark(); });
  editor.commands.addCommand({ name: "submit", bindKey: { win: "Ctrl-Enter", mac: "Command-Enter" }, exec: () => field.form.querySelector("button.primary").click() });
  const input = editor.textInput.getElement();
  input.setAttribute("aria-label", "Query");
  const label = document.getElementById("sql-label");
  if (label) label.addEventListener("click", () => editor.focus());

  // Names of all views and tables, and the columns of those that the statement names.
  let names = null;
  const columns = new Map();
  const load = (address) => fetch(address).then((answer) => (answer.ok ? answer.json() : [])).catch(() => []);
  const completer = {
    async getCompletions(_editor, session, _position, _prefix, done) {
      names = names || load(field.dataset.editor);
      const all = await names;
      const text = session.getValue();
      const used = new Set(text.match(/[A-Za-z_$][\w$.]*/g) || []);
      const named = all.filter((name) => used.has(name)).slice(0, 20);
      for (const name of named) if (!columns.has(name)) columns.set(name, load(`${document.body.dataset.base}/columns.json?name=${encodeURIComponent(name)}`));
      const words = all.slice(0, 20000).map((name) => ({ value: name, meta: "name", score: 900 }));
      for (const name of named) for (const column of await columns.get(name)) words.push({ value: column, meta: name, score: 1000 });
      done(null, words);
    },
  };
  const tools = ace.require("ace/ext/language_tools");
  if (tools) tools.setCompleters([completer, tools.keyWordCompleter]);

  let mark = null;
  function unmark() {
    if (mark !== null) { editor.session.removeMarker(mark); mark = null; editor.session.clearAnnotations(); }
  }
  function markWrong() {
    const wrong = document.querySelector("[data-wrong-line]");
    unmark();
    if (!wrong) return;
    const row = Number(wrong.dataset.wrongLine) - 1;
    const column = Number(wrong.dataset.wrongColumn) - 1;
    const Range = ace.require("ace/range").Range;
    mark = editor.session.addMarker(new Range(row, column, row, column + Math.max(1, Number(wrong.dataset.wrongLength))), "wrong", "text");
    editor.session.setAnnotations([{ row, column, type: "error", text: wrong.textContent.trim() }]);
    editor.gotoLine(row + 1, column, false);
  }
  document.addEventListener("htmx:afterSettle", markWrong);
  document.addEventListener("htmx:configRequest", (event) => { if ("sql" in event.detail.parameters) event.detail.parameters.sql = editor.getValue(); });
  markWrong();
})();
// A button that leads to another page, with what is in the form, is no request of the script.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-plain]");
  if (!button) return;
  event.preventDefault();
  event.stopPropagation();
  const form = button.form;
  form.action = button.getAttribute("formaction");
  HTMLFormElement.prototype.submit.call(form);
}, true);
