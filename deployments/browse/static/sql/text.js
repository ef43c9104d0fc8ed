// Saved queries as a text that other programs can run: each begins with a line `-- name: NAME`.
const NAME = /^-- name: (.*)$/;

export function writeQueries(queries) {
  return [...queries].map(([name, sql]) => `-- name: ${name}\n${hidden(sql).trim()}\n`).join("\n");
}

// A comment of a query that looks like a name gets another space.
const hidden = (sql) => sql.replace(/^-- name: /gm, "--  name: ");

export function readQueries(text) {
  const queries = new Map();
  let name = null;
  for (const line of text.split(/\r?\n/)) {
    const found = NAME.exec(line);
    if (found) {
      name = found[1].trim();
      queries.set(name, "");
    } else if (name !== null) queries.set(name, `${queries.get(name)}${line}\n`);
  }
  return new Map([...queries].map(([key, sql]) => [key, sql.trim()]).filter(([key, sql]) => key && sql));
}
