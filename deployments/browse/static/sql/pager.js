// Pages of a long table. All of its rows are loaded; without this script all of them are shown.
const ROWS = 100;

export function pageRows(body, pager) {
  const rows = body ? [...body.rows] : [];
  if (rows.length <= ROWS) return;
  const pages = Math.ceil(rows.length / ROWS);
  let page = 0;
  const show = (wanted) => {
    page = Math.min(Math.max(wanted, 0), pages - 1);
    rows.forEach((row, place) => { row.hidden = Math.floor(place / ROWS) !== page; });
    const last = Math.min((page + 1) * ROWS, rows.length);
    pager.querySelector("[role=status]").textContent = `Rows ${page * ROWS + 1} to ${last} of ${rows.length}`;
    for (const button of pager.querySelectorAll("button")) {
      const target = page + Number(button.dataset.step);
      button.disabled = target < 0 || target >= pages;
    }
  };
  pager.addEventListener("click", (event) => {
    if (event.target.dataset.step) show(page + Number(event.target.dataset.step));
  });
  pager.hidden = false;
  show(0);
}
