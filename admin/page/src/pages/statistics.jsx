// How often, how fast and how well: exchanges by route and path template.
import { useState } from 'preact/hooks';
import { usePoll } from '../api.js';
import { ago, bytes, duration, percent, short, whole } from '../format.js';
import { link, replace } from '../router.js';
import { Card, Choice, Empty, Loaded, Pill, Search, Segments } from '../ui.jsx';

const orders = [['count', 'Most'], ['errors', 'Errors'], ['time', 'Time'], ['p99', 'p99'], ['bytes', 'Bytes']];

const phases = [['waiting_seconds', 'before the attempt', 'muted'], ['connecting_seconds', 'connecting', 'violet'], ['first_byte_seconds', 'waiting for the answer', 'accent'], ['body_seconds', 'bodies', 'ok']];

const Split = ({ of }) => <Segments list={phases.map(([key, text, tone]) => ({ value: of[key], text, tone }))} />;

const Cells = ({ f, seconds }) => (
  <>
    <td class="n" data-label="per s">{seconds ? short(f.count / seconds) : whole(f.count)}</td>
    <td class={'n' + (f.errors ? ' bad-text' : '')} data-label="errors">{f.errors ? percent(f.errors, f.count) : '0'}</td>
    <td class="n" data-label="p50">{duration(f.p50_seconds)}</td>
    <td class="n wide-only">{duration(f.p90_seconds)}</td>
    <td class="n" data-label="p99">{duration(f.p99_seconds)}</td>
    <td class="n wide-only">{duration(f.mean_seconds)}</td>
    <td class="phases wide-only">{f.mean_seconds > 0 && <Split of={f.phases} />}</td>
    <td class="n" data-label="sent">{bytes(f.bytes_out)}</td>
  </>
);

function Slowest({ list }) {
  if (!list.length) return <Empty title="No exchange has been slow of late" />;
  return (
    <table class="rows">
      <thead><tr><th>Status</th><th>Request</th><th>Target</th><th>When</th><th class="phases">Time went to</th><th class="n">Took</th></tr></thead>
      <tbody>
        {list.map((x) => (
          <tr key={x.request_id + x.start}>
            <td class="head"><Pill tone={x.status >= 500 || !x.status ? 'bad' : x.status >= 400 ? 'warn' : 'ok'}>{x.status || x.cause}</Pill></td>
            <td class="mono wrap main">{x.method} <a href={link('exchanges', [], { filter: 'request_id=' + x.request_id })}>{x.requested}</a></td>
            <td class="mono wrap" data-label="target">{x.target || '–'}</td>
            <td>{ago(new Date(x.start))}</td>
            <td class="phases wide-only"><Split of={x.phases} /></td>
            <td class="n" data-label="took">{duration(x.seconds)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Route({ r, late, seconds, q }) {
  const [slow, setSlow] = useState(false);
  const paths = r.paths.filter((p) => (r.route + ' ' + p.path).toLowerCase().includes(q.toLowerCase()));
  const id = 's-' + (r.route || 'none');
  return (
    <Card id={id} flush title={r.route || 'no route'} aside={r.slowest.length > 0 && <Choice label="What is shown" value={slow} options={[[false, 'Paths'], [true, 'Slowest']]} onChange={setSlow} />}>
      {slow ? <Slowest list={r.slowest} /> : (
        <div class="scroll">
          <table class="rows">
            <thead><tr><th>Path</th><th class="n">{seconds ? 'Per s' : 'Count'}</th><th class="n">Errors</th><th class="n">p50</th><th class="n wide-only">p90</th><th class="n">p99</th><th class="n wide-only">Mean</th><th class="phases wide-only">Time goes to</th><th class="n">Sent</th></tr></thead>
            <tbody>
              <tr class="sum"><td class="main"><b>all</b></td><Cells f={late ? r.recent : r} seconds={seconds} /></tr>
              {paths.map((p) => <tr key={p.path}><td class="mono wrap main">{p.path}</td><Cells f={late ? p.recent : p} seconds={seconds} /></tr>)}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

export function Statistics({ route }) {
  const { by = 'count', span = '', q = '' } = route.query;
  const late = span !== 'total';
  const found = usePoll('/statistics?limit=30&by=' + by + (late ? '&order=recent' : ''), 3000);
  const to = (part) => replace('statistics', [], { by, span, q, ...part });
  return (
    <>
      <header class="top">
        <h1>Statistics</h1>
        <Search value={q} label="Search routes and paths" placeholder="route, path" onInput={(q) => to({ q })} />
        <Choice label="Of which time" value={span} options={[['', 'Last minutes'], ['total', 'Since the start']]} onChange={(span) => to({ span })} />
        <Choice label="Order" value={by} options={orders} onChange={(by) => to({ by })} />
      </header>
      <Loaded of={found}>
        {({ routes, recent_seconds }) => {
          const shown = routes.filter((r) => (late ? r.recent : r).count > 0 && (r.route + ' ' + r.paths.map((p) => p.path).join(' ')).toLowerCase().includes(q.toLowerCase()));
          if (!shown.length) return <Empty title={q ? 'Nothing fits the search' : 'No request yet'}>{late && !q && 'None in the last minutes.'}</Empty>;
          return shown.map((r) => <Route key={r.route} r={r} late={late} seconds={late ? recent_seconds : 0} q={q} />);
        }}
      </Loaded>
    </>
  );
}
