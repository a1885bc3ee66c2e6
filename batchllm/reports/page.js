// Draws the charts and fills the table of items. Whatever a model said is only ever set as text.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Charts.

  const clock = (seconds) => {
    if (data.seconds < 10) return `${+seconds.toFixed(1)} s`;
    const whole = Math.round(seconds);
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const two = (n) => String(n).padStart(2, "0");
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };

  // Between two marks of an axis of time, in numbers that clocks have.
  const step = (seconds) => {
    for (let unit = 1; ; unit *= unit < 3600 ? 60 : 24) {
      for (const few of [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30]) {
        if (few * unit * 6 >= seconds) return few * unit;
      }
    }
  };

  const marks = {
    id: "marks",
    beforeDatasetsDraw(chart) {
      const { pauses = [], joints = [] } = chart.config.options.marks || {};
      const { ctx, chartArea: area, scales: { x } } = chart;
      ctx.save();
      ctx.fillStyle = colour("--pause");
      for (const [begin, end] of pauses) {
        const left = x.getPixelForValue(begin);
        ctx.fillRect(left, area.top, Math.max(2, x.getPixelForValue(end) - left), area.height);
      }
      ctx.strokeStyle = colour("--quiet");
      ctx.setLineDash([4, 4]);
      for (const joint of joints) {
        const at = x.getPixelForValue(joint);
        ctx.beginPath();
        ctx.moveTo(at, area.top);
        ctx.lineTo(at, area.bottom);
        ctx.stroke();
      }
      ctx.restore();
    },
  };

  Chart.defaults.locale = "en"; // as the rest of the page
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;

  const axis = (more) => ({
    grid: { color: colour("--line") },
    ticks: { color: colour("--quiet"), maxRotation: 0, autoSkipPadding: 12, ...more },
    border: { color: colour("--line") },
  });

  const base = (chart) => ({
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    interaction: { mode: "index", intersect: false },
    plugins: {
      legend: {
        // The only limit has a name to be seen, too.
        display: chart.series.length > 1 || chart.name === "quota",
        labels: { color: colour("--ink"), boxWidth: 12, boxHeight: 12 },
      },
    },
  });

  const overTime = (chart) => ({
    type: "line",
    data: {
      datasets: chart.series.map((one, n) => ({
        label: one.name,
        data: one.values.map((y, i) => ({ x: chart.at[i], y })),
        borderColor: colour(`--c${n % 6 + 1}`),
        backgroundColor: colour(`--c${n % 6 + 1}`),
        borderWidth: 1.5,
        pointRadius: chart.at.length > 1 ? 0 : 3,
        pointHitRadius: 8,
        spanGaps: false,
      })),
    },
    options: {
      ...base(chart),
      parsing: false,
      marks: { pauses: chart.pauses, joints: chart.joints },
      scales: {
        x: {
          type: "linear", min: 0, max: chart.seconds || undefined,
          ...axis({ callback: clock, stepSize: step(chart.seconds) }),
        },
        y: { beginAtZero: true, suggestedMax: chart.name === "quota" ? 100 : undefined, ...axis({}) },
      },
      plugins: {
        ...base(chart).plugins,
        tooltip: { callbacks: { title: (found) => found.length ? clock(found[0].parsed.x) : "" } },
      },
    },
    plugins: [marks],
  });

  const bars = (chart, options, more) => ({
    type: "bar",
    data: {
      labels: chart.labels,
      datasets: chart.series.map((one) => ({
        label: one.name,
        data: one.values,
        backgroundColor: colour("--c1"),
        ...more,
      })),
    },
    options: { ...base(chart), ...options },
  });

  const histogram = (chart) => bars(chart, {
    scales: { x: { ...axis({}), grid: { display: false } }, y: { beginAtZero: true, ...axis({ precision: 0 }) } },
    plugins: {
      ...base(chart).plugins,
      tooltip: { callbacks: { title: (found) => found.length ? chart.ranges[found[0].dataIndex] : "" } },
    },
  }, { categoryPercentage: 1, barPercentage: 0.95 });

  const short = (text) => text.length > 24 ? `${text.slice(0, 23)}…` : text;
  const lying = (chart) => bars(chart, {
    indexAxis: "y",
    scales: {
      x: { beginAtZero: true, ...axis({}) },
      y: {
        ...axis({ autoSkip: false, callback: (_, n) => short(chart.labels[n]) }),
        grid: { display: false },
      },
    },
  }, { maxBarThickness: 22 });

  const kinds = { time: overTime, histogram, bars: lying };
  let drawn = [];
  const draw = () => {
    for (const chart of drawn) chart.destroy();
    drawn = data.charts.map((chart) =>
      new Chart(document.getElementById(`chart-${chart.name}`), kinds[chart.kind](chart)));
  };
  draw();
  dark.addEventListener("change", draw);
  addEventListener("beforeprint", () => { for (const chart of drawn) chart.resize(); });

  // Items.

  const items = data.items;
  const table = document.getElementById("table");
  if (!items.length) return;

  const make = (name, text, kind) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const many = (n) => n === undefined || n === null ? "" : n.toLocaleString("en");
  const dollars = (n) => n === undefined ? "" : `$${+n.toPrecision(3)}`;
  const columns = [
    ["Id", (item) => item.id, "id", ""],
    ["Answer or error", (item) => item.output || item.error || "", "output", ""],
    ["Kind", (item) => item.kind || "", "kind", "side"],
    ["Called s", (item) => item.called ?? "", "called", "n"],
    ["Waited s", (item) => item.waited ?? "", "waited", "n side"],
    ["Attempts", (item) => many(item.attempts), "attempts", "n side"],
    ["In", (item) => many(item.in), "in", "n side"],
    ["Out", (item) => many(item.out), "out", "n side"],
    ["Cost", (item) => dollars(item.cost), "cost", "n side"],
  ].filter(([, , key]) => items.some((item) => item[key] !== undefined) || key === "output");
  for (const item of items) {
    const parts = [item.id, item.source, item.prompt, item.output, item.error, item.kind, item.model, item.reasoning];
    Object.defineProperty(item, "text", { value: parts.filter(Boolean).join("\n").toLowerCase() });
  }

  const PAGE = 100;
  let shown = PAGE, order = null;
  const words = document.getElementById("filter-text");
  const kind = document.getElementById("filter-kind");
  const more = document.getElementById("more");
  for (const name of [...new Set(items.map((item) => item.kind).filter(Boolean))].sort()) {
    const option = make("option", name);
    option.value = name;
    kind.append(option);
  }

  const found = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = { "*": () => true, "": (item) => !item.kind, "!": (item) => item.kind }[kind.value]
      || ((item) => item.kind === kind.value);
    const rows = items.filter((item) => fits(item) && wanted.every((word) => item.text.includes(word)));
    if (order) {
      const [key, way] = order;
      rows.sort((a, b) => {
        const [x, y] = [a[key] ?? "", b[key] ?? ""];
        return way * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
      });
    }
    return rows;
  };

  const tokens = (list) => {
    const box = make("dd");
    for (const [token, logprob, others] of list) {
      const sure = Math.exp(logprob);
      const one = make("span", token, "token");
      // Green for a sure token, red for a doubtful one.
      one.style.borderColor = `hsl(${Math.round(120 * sure)} 70% 50%)`;
      one.title = `${(100 * sure).toFixed(1)} %${others ? `; ${others}` : ""}`;
      box.append(one);
    }
    return box;
  };
  const citations = (list) => {
    const box = make("dd");
    for (const one of list) {
      const line = make("div", undefined, "text");
      if (one.url) {
        const link = make("a", one.text);
        link.href = one.url;
        link.rel = "noopener noreferrer";
        line.append(link);
      } else line.textContent = one.text;
      box.append(line);
    }
    return box;
  };
  const block = (text) => {
    const box = make("dd");
    box.append(Object.assign(make("pre", text), { dir: "auto" }));
    return box;
  };
  const lines = (list) => block(list.join("\n"));
  const pairs = (mapping) => lines(Object.entries(mapping).map(([name, value]) => `${name}: ${value.toLocaleString("en")}`));
  const calls = (list) => lines(list.map(([room, cooldown, called, backoff], n) =>
    `call ${n + 1}: waited ${+(room + cooldown).toFixed(3)} s, took ${called} s, then waited ${backoff} s`));
  const parts = [
    ["prompt", "Prompt", block], ["output", "Answer", block], ["error", "Error", block],
    ["reasoning", "Reasoning", block],
    ["tools", "Tool calls", (list) => lines(list.map(([name, text]) => `${name} ${text}`))],
    ["citations", "Citations", citations], ["logprobs", "Probabilities", tokens],
    ["finish", "Ended by", block], ["safety", "Safety", pairs], ["notes", "Notes", lines],
    ["failures", "Calls without an answer", lines], ["calls", "Calls", calls],
    ["usage", "Tokens", pairs], ["model", "Model", block], ["source", "Input", block],
  ];
  const details = (item) => {
    const list = make("dl");
    for (const [key, title, view] of parts) {
      if (item[key] !== undefined) list.append(make("dt", title), view(item[key]));
    }
    const cell = make("td");
    cell.colSpan = columns.length;
    cell.append(list);
    const row = make("tr", undefined, "detail");
    row.append(cell);
    return row;
  };
  const rowOf = (item) => {
    const row = make("tr");
    for (const [, text, key, style] of columns) {
      const value = String(text(item));
      const cell = make("td", undefined, style);
      if (key === "id") {
        const button = make("button", value);
        button.type = "button";
        button.setAttribute("aria-expanded", "false");
        button.addEventListener("click", () => {
          const open = button.getAttribute("aria-expanded") === "true";
          button.setAttribute("aria-expanded", String(!open));
          if (open) row.nextSibling.remove();
          else row.after(details(item));
        });
        cell.append(button);
      } else {
        cell.textContent = value.length > 160 ? `${value.slice(0, 160)}…` : value;
        if (key === "output") cell.className = item.kind ? "clip bad" : "clip";
      }
      row.append(cell);
    }
    return row;
  };

  const body = table.tBodies[0];
  const show = () => {
    const rows = found();
    body.replaceChildren(...rows.slice(0, shown).map(rowOf));
    document.getElementById("filter-count").textContent = `${many(rows.length)} of ${many(items.length)}`;
    more.hidden = rows.length <= shown;
  };
  const again = () => { shown = PAGE; show(); };
  for (const [title, , key, style] of columns) {
    const head = make("th", undefined, style);
    const button = make("button", title);
    button.type = "button";
    button.addEventListener("click", () => {
      order = order && order[0] === key ? [key, -order[1]] : [key, style.startsWith("n") ? -1 : 1];
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order[1] > 0 ? "ascending" : "descending");
      again();
    });
    head.append(button);
    table.tHead.rows[0].append(head);
  }
  words.addEventListener("input", again);
  kind.addEventListener("change", again);
  document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { shown += PAGE; show(); });
  for (const cell of document.querySelectorAll("#slowest tbody td:first-child")) {
    const button = make("button", cell.textContent);
    button.type = "button";
    button.addEventListener("click", () => {
      words.value = cell.textContent;
      kind.value = "*";
      again();
      document.getElementById("items").scrollIntoView();
    });
    cell.replaceChildren(button);
  }
  document.getElementById("filter").hidden = table.hidden = false;
  show();
})();
