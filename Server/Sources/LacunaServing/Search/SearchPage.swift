/// The page at `/`: a search in a browser, with the terms that made each result. It loads nothing from elsewhere.
enum SearchPage {
    static let html = #"""
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>Lacuna</title>
        <link rel="icon" href="data:,">
        <style>
        :root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); --accent: #3567c7;
          --mark: color-mix(in srgb, var(--accent) 22%, transparent); }
        * { box-sizing: border-box; }
        body { margin: 0 auto; max-width: 46rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; }
        header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; }
        h1 { font-size: 1.1rem; margin: 0; }
        #facts, #work, .terms { font-size: .85rem; opacity: .75; font-variant-numeric: tabular-nums; }
        form { display: flex; flex-wrap: wrap; gap: .5rem; padding: .75rem 0; }
        input { font: inherit; padding: .5rem .7rem; border: 1px solid var(--line); border-radius: .6rem; background: transparent;
          color: inherit; }
        #query { flex: 1 1 16rem; }
        button { font: inherit; padding: .5rem 1rem; border: 0; border-radius: .6rem; background: var(--accent); color: white; }
        details { flex-basis: 100%; font-size: .85rem; }
        details input { padding: .25rem .4rem; margin-right: .8rem; }
        article { border-top: 1px solid var(--line); padding: .6rem 0; }
        article h2 { font-size: 1rem; margin: 0; display: flex; justify-content: space-between; gap: 1rem; }
        article p { margin: .2rem 0; overflow-wrap: anywhere; }
        .terms span { display: inline-block; margin-right: .8rem; }
        .bar { display: inline-block; height: .55em; background: var(--accent); margin-right: .3rem; border-radius: 2px; }
        mark { background: var(--mark); color: inherit; border-radius: 3px; }
        .error { color: #c0392b; }
        </style>
        </head>
        <body>
        <header><h1 id="name">Lacuna</h1><span id="facts" role="status">…</span></header>
        <form id="form" role="search">
        <input id="query" type="search" placeholder="Search" aria-label="Search" autofocus>
        <button>Search</button>
        <details><summary>More</summary>
        <label>results <input id="k" type="number" min="1" max="1000" value="10"></label>
        <label>filter <input id="filter" placeholder="year >= 1958"></label>
        <label>key <input id="key" type="password" autocomplete="off"></label>
        </details>
        </form>
        <div id="work" role="status"></div>
        <main id="hits" aria-live="polite"></main>
        <script>
        "use strict";
        const at = id => document.getElementById(id);
        const headers = () => ({ "Content-Type": "application/json",
          ...(at("key").value ? { Authorization: "Bearer " + at("key").value } : {}) });
        const make = (tag, text, kind) => { const e = document.createElement(tag);
          if (text !== undefined) e.textContent = text; if (kind) e.className = kind; return e; };

        async function facts() {
          try {
            const answer = await fetch("/index", { headers: headers() });
            const body = await answer.json();
            if (!answer.ok) throw new Error(body.error.message);
            at("name").textContent = body.name;
            document.title = body.name + " · Lacuna";
            at("facts").textContent = body.documents.toLocaleString("en") + " documents, "
              + body.terms.toLocaleString("en") + " terms" + (body.takes_text ? "" : "; takes vectors, not texts")
              + (body.fields.length ? "; filters by " + body.fields.join(", ") : "");
          } catch (e) { at("facts").textContent = e.message; }
        }

        // A text with the words marked that begin like a term: terms may be stems, in which a last y has become i.
        function marked(text, terms) {
          const p = make("p");
          const begins = terms.map(t => t.replace(/^##|^[\u0120\u2581]/, "").toLowerCase().replace(/(..)i$/, "$1")).filter(t => t.length > 1);
          for (const piece of text.split(/([\p{L}\p{N}]+)/u)) {
            const word = piece.toLowerCase();
            p.append(begins.some(t => word.startsWith(t)) ? make("mark", piece) : piece);
          }
          return p;
        }

        let last = 0;
        async function search() {
          const query = at("query").value.trim();
          if (!query) return;
          const own = ++last;
          at("hits").replaceChildren();
          try {
            const filter = at("filter").value.trim();
            const answer = await fetch("/search", { method: "POST", headers: headers(),
              body: JSON.stringify({ query, k: Number(at("k").value), ...(filter ? { filter } : {}) }) });
            const body = await answer.json();
            if (own !== last) return;
            if (!answer.ok) throw new Error(body.error.message);
            at("work").className = "";
            at("work").textContent = (body.hits.length ? body.hits.length + " results" : "Nothing was found") + " in "
              + (1000 * body.seconds).toFixed(1) + " ms; " + body.documents_scored.toLocaleString("en") + " of "
              + body.documents.toLocaleString("en") + " documents scored";
            const most = Math.max(...body.hits.flatMap(h => h.terms.map(t => t.score)), 0);
            for (const hit of body.hits) {
              const entry = make("article");
              const title = make("h2", hit.rank + ". " + hit.id);
              title.append(make("span", hit.score.toFixed(3)));
              const terms = make("div", undefined, "terms");
              for (const t of hit.terms.slice(0, 10)) {
                const term = make("span"), bar = make("i", undefined, "bar");
                bar.style.width = (3 * t.score / most).toFixed(2) + "rem";
                term.append(bar, t.term + " " + t.score.toFixed(2));
                terms.append(term);
              }
              const text = hit.text.length > 600 ? hit.text.slice(0, 600) + " …" : hit.text;
              entry.append(title, marked(text, hit.terms.map(t => t.term)), terms);
              at("hits").append(entry);
            }
          } catch (e) {
            if (own !== last) return;
            at("work").className = "error";
            at("work").textContent = e.message;
          }
        }

        at("form").addEventListener("submit", e => { e.preventDefault(); search(); });
        at("key").addEventListener("change", facts);
        facts();
        </script>
        </body>
        </html>
        """#
}
