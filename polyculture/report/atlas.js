"use strict";
// The atlas: which cards are shown.

(() => {
  const $ = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll(".finding")];
  const texts = cards.map((card) => card.textContent.toLowerCase());

  function filter() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    cards.forEach((card, i) => {
      card.hidden = Boolean(($("outcome").value && card.dataset.outcome !== $("outcome").value)
        || ($("stage").value && card.dataset.stage !== $("stage").value)
        || !words.every((word) => texts[i].includes(word)));
      shown += card.hidden ? 0 : 1;
    });
    $("status").textContent = `${shown} of ${cards.length} papers`;
  }

  for (const id of ["search", "outcome", "stage"]) $(id).addEventListener("input", filter);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  filter(); // a browser may restore what was chosen before a reload
})();
