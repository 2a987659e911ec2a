// Charts over time, drawn by uPlot.
import uPlot from 'uplot';
import { useEffect, useRef, useState } from 'preact/hooks';
import { clock } from './format.js';

// colour reads a colour of the style sheet as the page shows it now.
function colour(name) {
  const probe = document.createElement('i');
  probe.style.color = 'var(--' + name + ')';
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const faint = (c) => c.replace(/^rgb\((.*)\)$/, (_, rgb) => 'rgba(' + rgb + ', 0.12)');

// useTheme changes whenever light becomes dark, or the other way round.
function useTheme() {
  const [theme, set] = useState(0);
  useEffect(() => {
    const changed = () => set((n) => n + 1);
    const query = matchMedia('(prefers-color-scheme: dark)');
    query.addEventListener('change', changed);
    addEventListener('weir-theme', changed);
    return () => {
      query.removeEventListener('change', changed);
      removeEventListener('weir-theme', changed);
    };
  }, []);
  return theme;
}

const height = 132;

function make(box, series, text, max, onCursor) {
  const ink = colour('muted');
  const grid = { stroke: colour('grid'), width: 1 };
  const font = '11px ' + getComputedStyle(document.body).fontFamily;
  return new uPlot(
    {
      width: box.clientWidth, height, legend: { show: false }, padding: [8, 4, 0, 0],
      cursor: { sync: { key: 'weir' }, points: { size: 6 }, drag: { x: false, y: false }, y: false },
      scales: { y: { range: (_, low, high) => [0, max || Math.max(high * 1.08, 1e-9)] } },
      axes: [
        { stroke: ink, grid: { show: false }, ticks: { show: false }, font, size: 26, gap: 8, space: 70, values: (_, ts, __, ___, step) => ts.map((t) => (step < 60 ? clock(t * 1000) : clock(t * 1000).slice(0, 5))) },
        { stroke: ink, grid, ticks: { show: false }, font, size: 60, gap: 4, space: 34, values: (_, vs) => vs.map(text) },
      ],
      series: [{}, ...series.map((s) => {
        const c = colour(s.colour);
        return { stroke: c, width: 1.5, fill: s.fill ? faint(c) : undefined, points: { show: false } };
      })],
      hooks: { setCursor: [(u) => onCursor(u.cursor.idx)] },
    },
    [[], ...series.map(() => [])],
    box,
  );
}

// Chart shows series over time. series is a list of { label, colour, values, fill }, text
// makes a value readable, max is the fixed upper end of the axis, if there is one.
export function Chart({ title, time, series, text, max }) {
  const box = useRef();
  const plot = useRef();
  const theme = useTheme();
  const [at, setAt] = useState(null);
  const shape = series.map((s) => s.label).join();
  useEffect(() => {
    const element = box.current;
    const mine = (plot.current = make(element, series, text, max, setAt));
    const resize = new ResizeObserver(() => element.isConnected && mine.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      mine.destroy();
    };
  }, [theme, shape]);
  useEffect(() => {
    plot.current.setData([time, ...series.map((s) => s.values)]);
  }, [theme, shape, time]);
  const i = at == null || at >= time.length ? time.length - 1 : at;
  const now = (s) => (i < 0 || s.values[i] == null ? '–' : text(s.values[i]));
  return (
    <figure class="chart">
      <figcaption>
        <h3>{title}</h3>
        <ul>
          {at != null && i >= 0 && <li>{clock(time[i] * 1000)}</li>}
          {series.map((s) => (
            <li key={s.label}>
              <i class={'dot ' + s.colour} />
              {s.label} <b>{now(s)}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={box} class="plot" role="img" aria-label={title + ', the last minutes; now ' + series.map((s) => s.label + ' ' + now(s)).join(', ')} />
    </figure>
  );
}
