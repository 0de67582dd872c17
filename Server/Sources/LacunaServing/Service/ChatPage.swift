/// The page at `/`: a conversation in a browser, with the model's sparsity and speed. It loads nothing from elsewhere.
enum ChatPage {
    static let html = #"""
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>Lacuna</title>
        <link rel="icon" href="data:,">
        <style>
        :root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
          --soft: color-mix(in srgb, currentColor 7%, transparent); --accent: #3567c7; }
        * { box-sizing: border-box; }
        body { margin: 0; height: 100dvh; display: flex; flex-direction: column; font: 16px/1.5 system-ui, sans-serif; }
        header, footer, main { width: 100%; max-width: 46rem; margin: 0 auto; padding: .75rem 1rem; }
        header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; border-bottom: 1px solid var(--line); }
        h1 { font-size: 1.1rem; margin: 0; }
        #facts, #speed { font-size: .85rem; opacity: .75; font-variant-numeric: tabular-nums; }
        #speed { min-height: 1.3em; padding-bottom: .4rem; }
        main { flex: 1; overflow-y: auto; }
        .message { white-space: pre-wrap; overflow-wrap: anywhere; padding: .55rem .8rem; margin: .5rem 0; border-radius: .6rem; }
        .user { background: var(--soft); margin-left: 15%; }
        .assistant { border: 1px solid var(--line); margin-right: 5%; min-height: 2.6rem; }
        .error { color: #c0392b; border-color: #c0392b; }
        form { display: flex; gap: .5rem; }
        textarea { flex: 1; resize: none; font: inherit; padding: .5rem .7rem; border: 1px solid var(--line); border-radius: .6rem;
          background: transparent; color: inherit; }
        button { font: inherit; padding: .5rem 1rem; border: 0; border-radius: .6rem; background: var(--accent); color: white; }
        button.plain { background: transparent; color: inherit; border: 1px solid var(--line); }
        button:disabled { opacity: .4; }
        details { font-size: .85rem; }
        label { display: inline-block; margin: .3rem .8rem .3rem 0; }
        input { font: inherit; width: 6.5rem; background: transparent; color: inherit; border: 1px solid var(--line); border-radius: .3rem; }
        </style>
        </head>
        <body>
        <header><h1 id="name">Lacuna</h1><span id="facts" role="status">…</span></header>
        <main id="log" aria-live="polite"></main>
        <footer>
        <div id="speed" role="status"></div>
        <form id="form">
        <textarea id="text" rows="2" placeholder="Ask something" aria-label="Message" autofocus></textarea>
        <button id="send">Send</button>
        <button id="stop" type="button" class="plain" disabled>Stop</button>
        </form>
        <details><summary>Settings</summary>
        <label>temperature <input id="temperature" type="number" min="0" max="2" step="0.1" value="0.7"></label>
        <label>top p <input id="topP" type="number" min="0.05" max="1" step="0.05" value="0.9"></label>
        <label>tokens at most <input id="most" type="number" min="1" value="512"></label>
        <label>key <input id="key" type="password" autocomplete="off"></label>
        <button id="fresh" type="button" class="plain">New conversation</button>
        </details>
        </footer>
        <script>
        "use strict";
        const at = id => document.getElementById(id);
        const messages = [];
        let model = null, running = null;
        const headers = () => ({ "Content-Type": "application/json",
          ...(at("key").value ? { Authorization: "Bearer " + at("key").value } : {}) });
        const bytes = n => { const u = ["B", "kB", "MB", "GB", "TB"]; let i = 0;
          while (n >= 1000 && i < 4) { n /= 1000; i++; } return n.toFixed(i ? 1 : 0) + " " + u[i]; };

        async function facts() {
          try {
            const answer = await fetch("/v1/models", { headers: headers() });
            const body = await answer.json();
            if (!answer.ok) throw new Error(body.error.message);
            model = body.data.find(m => m.max_model_len);
            if (!model) throw new Error("No model of texts is served here.");
            const l = model.lacuna;
            at("name").textContent = model.id;
            document.title = model.id + " · Lacuna";
            at("facts").textContent = (l.parameters / 1e6).toFixed(0) + " M parameters, "
              + (100 * l.linear_sparsity).toFixed(1) + " % of the linear weights left out, "
              + bytes(l.weight_bytes_per_token) + " of weights a token";
          } catch (e) { at("facts").textContent = e.message; }
        }

        function show(kind, text) {
          const div = document.createElement("div");
          div.className = "message " + kind;
          div.textContent = text;
          at("log").append(div);
          at("log").scrollTop = at("log").scrollHeight;
          return div;
        }

        async function send() {
          const text = at("text").value.trim();
          if (!text || running) return;
          at("text").value = "";
          messages.push({ role: "user", content: text });
          show("user", text);
          const answer = show("assistant", "");
          running = new AbortController();
          at("send").disabled = true; at("stop").disabled = false;
          const begun = performance.now();
          let first = 0, pieces = 0, content = "", usage = null;
          try {
            const response = await fetch("/v1/chat/completions", { method: "POST", headers: headers(), signal: running.signal,
              body: JSON.stringify({ model: model?.id, messages, stream: true, stream_options: { include_usage: true },
                temperature: Number(at("temperature").value), top_p: Number(at("topP").value),
                max_completion_tokens: Number(at("most").value) }) });
            if (!response.ok) throw new Error((await response.json()).error.message);
            const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
            let rest = "";
            for (;;) {
              const { value, done } = await reader.read();
              if (done) break;
              rest += value;
              const events = rest.split("\n\n");
              rest = events.pop();
              for (const event of events) {
                const data = event.replace(/^data: /, "");
                if (data === "[DONE]") continue;
                const chunk = JSON.parse(data);
                if (chunk.error) throw new Error(chunk.error.message);
                if (chunk.usage) usage = chunk.usage;
                const piece = chunk.choices[0]?.delta?.content;
                if (!piece) continue;
                if (!first) first = performance.now();
                pieces++;
                content += piece;
                const log = at("log"), near = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
                answer.textContent = content;
                if (near) log.scrollTop = log.scrollHeight;
                const seconds = (performance.now() - first) / 1000;
                if (seconds > .2) at("speed").textContent = (pieces / seconds).toFixed(1) + " pieces/s";
              }
            }
          } catch (e) {
            if (e.name !== "AbortError") { answer.classList.add("error"); answer.textContent = content + e.message; }
          }
          if (usage) {
            const l = usage.lacuna, n = usage.completion_tokens;
            at("speed").textContent = n + " tokens"
              + (n > 1 && l.text_seconds > 0 ? " at " + ((n - 1) / l.text_seconds).toFixed(1) + " tokens/s" : "")
              + ", first after " + (1000 * l.first_token_seconds).toFixed(0) + " ms; " + bytes(l.weight_bytes)
              + " of weights read; " + usage.prompt_tokens_details.cached_tokens + " of " + usage.prompt_tokens
              + " prompt tokens were known";
          } else if (first) {
            at("speed").textContent = "stopped after " + ((performance.now() - begun) / 1000).toFixed(1) + " s";
          }
          if (content) messages.push({ role: "assistant", content }); else messages.pop();
          running = null;
          at("send").disabled = false; at("stop").disabled = true;
          at("text").focus();
        }

        at("form").addEventListener("submit", e => { e.preventDefault(); send(); });
        at("text").addEventListener("keydown", e => {
          if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); } });
        at("stop").addEventListener("click", () => running?.abort());
        at("fresh").addEventListener("click", () => { running?.abort(); messages.length = 0; at("log").replaceChildren(); });
        at("key").addEventListener("change", facts);
        facts();
        </script>
        </body>
        </html>
        """#
}
