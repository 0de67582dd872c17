import LacunaIO
import LacunaModels
import LacunaTensor

extension FeatureAtlas {
    /// One self-contained page of all features, that opens from disk: contexts with the strength of every token
    /// shaded, logit effects, densities, nearest features, a search.
    ///
    /// Features are lines of JSON inside the page, of which only those that are shown are read, so that thousands
    /// open at once.
    public func page(_ tokenizer: Tokenizer) -> String { page { tokenizer.decode([$0]) } }

    /// The same for whatever gives the text of a token.
    func page(text: (_ token: Int) -> String) -> String {
        var used: Set<Int> = []
        for feature in features {
            for context in feature.contexts { used.formUnion(context.tokens) }
            used.formUnion(feature.raised.map(\.token) + feature.lowered.map(\.token) + feature.tokens.map(\.token))
            used.formUnion(feature.phrases.flatMap(\.tokens))
        }
        let order = used.sorted()
        let place = Dictionary(uniqueKeysWithValues: order.enumerated().map { ($1, $0) })
        let texts = JSONValue.array(order.map { .string(text($0)) }).serialized()
        let lines = features.map { line($0, place) }.joined(separator: "\n")
        // What tells features apart in the list and is searched: the tokens that carry most of each.
        let index = JSONValue.array(
            features.map { feature in
                [
                    JSONValue(feature.index), .number((feature.density * 1e6).rounded() / 1e6),
                    .string(feature.tokens.prefix(4).map { text($0.token) }.joined(separator: "\u{1f}")),
                    .string(feature.raised.prefix(3).map { text($0.token) }.joined(separator: "\u{1f}")),
                ]
            }
        ).serialized()
        let facts =
            "\(Self.escaped(model)), \(site) · \(Self.escaped("\(rule)")) · \(features.count) of \(width) "
            + "features active in \(tokens) tokens"
        return Self.template
            .replacing("@TITLE@", with: Self.escaped("\(model) \(site)"))
            .replacing("@FACTS@", with: facts)
            .replacing("@TOKENS@", with: Self.embedded(texts))
            .replacing("@INDEX@", with: Self.embedded(index))
            .replacing("@LINES@", with: Self.embedded(lines))
    }

    /// `[contexts, raised, lowered, nearest, tokens, maximum, phrases]`; a context is `[tokens, strengths in hundredths of the
    /// maximum, peak]`, strengths as pairs of place and value where they are not 0.
    private func line(_ feature: Feature, _ place: [Int: Int]) -> String {
        let scale = max(abs(feature.maximum), 1e-30)
        func number(_ value: Float) -> JSONValue { .number((Double(value) * 100).rounded() / 100) }
        let contexts = feature.contexts.map { context -> JSONValue in
            var strengths: [JSONValue] = []
            for (i, strength) in context.strengths.enumerated() where strength != 0 {
                strengths += [JSONValue(i), JSONValue(Int((100 * strength / scale).rounded()))]
            }
            return [.array(context.tokens.map { JSONValue(place[$0]!) }), .array(strengths), JSONValue(context.peak)]
        }
        func effects(_ list: [(token: Int, effect: Float)]) -> JSONValue {
            .array(list.map { [JSONValue(place[$0.token]!), number($0.effect)] })
        }
        let value: JSONValue = [
            .array(contexts), effects(feature.raised), effects(feature.lowered),
            .array(feature.nearest.map { [JSONValue($0.feature), number($0.cosine)] }),
            .array(feature.tokens.map { [JSONValue(place[$0.token]!), JSONValue(Int(($0.share * 100).rounded()))] }),
            number(feature.maximum),
            .array(
                feature.phrases.map { phrase in
                    [
                        .array(phrase.tokens.map { JSONValue(place[$0]!) }),
                        JSONValue(Int((phrase.share * 100).rounded())),
                    ]
                }),
        ]
        return value.serialized()
    }

    /// Inside a script element nothing may look like its end, and nothing like a place of the template that is filled
    /// later.
    private static func embedded(_ json: String) -> String {
        json.replacing("<", with: "\\u003c").replacing("@", with: "\\u0040")
    }

    private static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;").replacing("@", with: "&#64;")
    }

    private static let template = """
        <!doctype html>
        <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
        <title>Features: @TITLE@</title>
        <style>
        :root { color-scheme: light dark; --line: #8884; --soft: #8883; --mark: 235, 120, 20; --cold: 40, 110, 220; }
        * { box-sizing: border-box; }
        body { margin: 0; font: 15px/1.5 system-ui, sans-serif; display: grid; grid-template: auto 1fr / 21rem 1fr; height: 100vh; }
        header { grid-column: 1 / 3; padding: .7rem 1rem; border-bottom: 1px solid var(--line); }
        header h1 { font-size: 1.1rem; margin: 0; } header p { margin: 0; opacity: .75; font-size: .85rem; }
        nav { border-right: 1px solid var(--line); display: flex; flex-direction: column; min-height: 0; }
        nav input, nav select { margin: .5rem .5rem 0; padding: .4rem; font: inherit; }
        nav p { margin: .3rem .6rem; font-size: .8rem; opacity: .75; }
        ol { list-style: none; margin: 0; padding: 0; overflow-y: auto; flex: 1; }
        li { padding: .25rem .6rem; cursor: pointer; border-top: 1px solid var(--soft); white-space: nowrap; overflow: hidden;
          text-overflow: ellipsis; }
        li:hover, li.on { background: var(--soft); } li b { display: inline-block; width: 3.4rem; }
        li small { opacity: .7; }
        main { overflow-y: auto; padding: 1rem 1.4rem 3rem; }
        main h2 { margin: 0 0 .3rem; } h3 { font-size: .95rem; margin: 1.1rem 0 .3rem; }
        .context { font: 14px/1.9 ui-monospace, monospace; white-space: pre-wrap; border-top: 1px solid var(--soft); padding: .2rem 0; }
        .context .peak { outline: 1px solid; outline-offset: 1px; border-radius: 2px; }
        .chips { display: flex; flex-wrap: wrap; gap: .3rem; } .chips span, .chips a { border: 1px solid var(--line);
          border-radius: .3rem; padding: 0 .4rem; font: 13px/1.7 ui-monospace, monospace; white-space: pre; }
        a { color: inherit; } .bar { height: .5rem; background: rgb(var(--mark)); border-radius: .2rem; }
        @media (max-width: 50rem) { body { grid-template: auto 40vh 1fr / 1fr; } header { grid-column: 1; } }
        </style></head><body>
        <header><h1>Features: @TITLE@</h1><p>@FACTS@</p></header>
        <nav><input id="search" type="search" placeholder="a number, or text of a token" aria-label="Search">
        <select id="order" aria-label="Order"><option value="0">by number</option><option value="1">rarest first</option>
        <option value="2">most frequent first</option></select><p id="count"></p><ol id="list"></ol></nav>
        <main id="main"></main>
        <script type="application/json" id="tokens">@TOKENS@</script>
        <script type="application/json" id="index">@INDEX@</script>
        <script type="text/plain" id="lines">@LINES@</script>
        <script>
        "use strict";
        const byId = id => document.getElementById(id);
        const tokens = JSON.parse(byId("tokens").textContent), index = JSON.parse(byId("index").textContent);
        const lines = byId("lines").textContent.split("\\n");
        const where = new Map(index.map((entry, i) => [entry[0], i]));
        const shown = text => text.replace(/\\n/g, "⏎").replace(/\\t/g, "⇥");
        function element(name, text, kind) {
          const e = document.createElement(name);
          if (text !== undefined) e.textContent = text;
          if (kind) e.className = kind;
          return e;
        }
        function share(x) { return x >= 0.001 ? (100 * x).toFixed(x >= 0.1 ? 1 : 2) + " %" : (100 * x).toPrecision(2) + " %"; }
        let current = -1;
        function list() {
          const wanted = byId("search").value.toLowerCase(), order = +byId("order").value;
          let found = index.map((_, i) => i).filter(i => wanted === "" || String(index[i][0]) === wanted
            || index[i][2].toLowerCase().includes(wanted) || index[i][3].toLowerCase().includes(wanted));
          if (order) found.sort((a, b) => (order === 1 ? 1 : -1) * (index[a][1] - index[b][1]) || a - b);
          byId("count").textContent = found.length + " features" + (found.length > 500 ? ", the first 500 shown" : "");
          const items = found.slice(0, 500).map(i => {
            const li = element("li"), [number, density, top] = index[i];
            li.append(element("b", number), element("small", share(density) + "  "),
              shown(top.split("\\u001f").map(t => "‹" + t + "›").join(" ")));
            li.onclick = () => { location.hash = number; };
            if (i === current) li.className = "on";
            return li;
          });
          byId("list").replaceChildren(...items);
          return found;
        }
        function chips(pairs, text, link) {
          const box = element("div", undefined, "chips");
          for (const [key, value] of pairs) {
            const chip = element(link ? "a" : "span", text(key, value));
            if (link) chip.href = "#" + key;
            box.append(chip);
          }
          return box;
        }
        function show(i) {
          current = i;
          const main = byId("main");
          if (i === undefined || i < 0) { main.replaceChildren(element("p", "There is no such feature here.")); return; }
          const [contexts, raised, lowered, nearest, carried, maximum, phrases] = JSON.parse(lines[i]);
          const [number, density] = index[i];
          const parts = [element("h2", "Feature " + number),
            element("p", "active in " + share(density) + " of the tokens, largest strength " + maximum)];
          const bar = element("div", undefined, "bar");
          bar.style.width = Math.max(1, 100 * (1 + Math.log10(Math.max(density, 1e-6)) / 6)) + "%";
          bar.title = "density, from 1e-6 to 1 on a logarithmic scale";
          parts.push(bar, element("h3", "Tokens that carry it"),
            chips(carried, (t, p) => shown(tokens[t]) + "  " + p + " %"));
          if (phrases.length) parts.push(element("h3", "Phrases that end in it"),
            chips(phrases, (ids, p) => shown(ids.map(t => tokens[t]).join("")) + "  " + p + " %"));
          parts.push(element("h3", "Strongest places"));
          for (const [ids, strengths, peak] of contexts) {
            const line = element("div", undefined, "context"), values = new Map();
            for (let k = 0; k < strengths.length; k += 2) values.set(strengths[k], strengths[k + 1]);
            ids.forEach((id, k) => {
              const value = values.get(k) || 0, span = element("span", shown(tokens[id]), k === peak ? "peak" : "");
              if (value) {
                span.style.background = `rgba(var(--${value > 0 ? "mark" : "cold"}), ${Math.min(1, Math.abs(value) / 100) * 0.75})`;
                span.title = value + " % of the largest";
              }
              line.append(span);
            });
            parts.push(line);
          }
          parts.push(element("h3", "Raises the logits of"), chips(raised, (t, e) => shown(tokens[t]) + "  " + e),
            element("h3", "Lowers the logits of"), chips(lowered, (t, e) => shown(tokens[t]) + "  " + e),
            element("h3", "Nearest features, by cosine"), chips(nearest, (f, c) => f + "  " + c, true));
          main.replaceChildren(...parts);
          main.scrollTop = 0;
        }
        function go() {
          const wanted = location.hash.slice(1), found = list();
          show(wanted === "" ? found[0] : where.get(+wanted));
          list();
        }
        byId("search").oninput = () => { list(); };
        byId("order").onchange = () => { list(); };
        addEventListener("hashchange", go);
        go();
        </script></body></html>
        """
}
