// The routes in the order in which weir tries them.
import { useState } from 'preact/hooks';
import { usePoll } from '../api.js';
import { plural } from '../format.js';
import { link, replace } from '../router.js';
import { Card, Empty, Loaded, Pill, Search } from '../ui.jsx';
import { Settings } from '../settings.jsx';

const textOf = (v) => (Array.isArray(v) ? v.join(', ') : typeof v === 'object' ? Object.entries(v).map(([k, x]) => k + ': ' + textOf(x)).join(', ') : String(v));

const Conditions = ({ match }) => {
  const list = Object.entries(match);
  if (!list.length) return <span class="hint">every request</span>;
  return (
    <span class="conditions">
      {list.map(([key, value]) => <span key={key}><small>{key}</small> <code>{textOf(value)}</code></span>)}
    </span>
  );
};

function Does({ does }) {
  const upstream = does.match(/^upstream "(.*)"$/)?.[1];
  return upstream ? <a href={link('upstreams', [], { q: upstream })}>{upstream}</a> : does;
}

function Row({ r, open, toggle, config }) {
  return (
    <>
      <tr data-row tabIndex={0} aria-expanded={open} class="opens" onClick={(e) => !e.target.closest('a') && toggle()} onKeyDown={(e) => e.key === 'Enter' && e.target === e.currentTarget && toggle()}>
        <td class="head"><b>{r.name}</b></td>
        <td class="main"><Conditions match={r.match} /></td>
        <td data-label="to"><Does does={r.does} /></td>
        <td>{r.cache && <Pill tone="ok">cached</Pill>}</td>
      </tr>
      {open && <tr class="more"><td colSpan={4}>{config ? <Settings of={config} /> : 'Loading …'}</td></tr>}
    </>
  );
}

export function Routes({ route }) {
  const routes = usePoll('/routes', 10000);
  const config = usePoll('/config', 10000);
  const [open, setOpen] = useState(null);
  const q = route.query.q || '';
  return (
    <>
      <header class="top">
        <h1>Routes</h1>
        <Search value={q} label="Search routes" placeholder="name, host, path, upstream" onInput={(q) => replace('routes', [], { q })} />
      </header>
      <Loaded of={routes}>
        {({ routes: all }) => {
          const list = all.map((r, i) => ({ ...r, i })).filter((r) => (r.name + ' ' + textOf(r.match) + ' ' + r.does).toLowerCase().includes(q.toLowerCase()));
          if (!all.length) return <Empty title="There are no routes">Every request is answered with 404. A table [[routes]] in the configuration makes one.</Empty>;
          if (!list.length) return <Empty title="No route fits the search" />;
          return (
            <Card flush>
              <table class="rows">
                <caption>{plural(list.length, 'route')}, the first that fits a request is taken</caption>
                <thead><tr><th>Name</th><th>Takes</th><th>Goes to</th><th>Cache</th></tr></thead>
                <tbody>
                  {list.slice(0, 500).map((r) => (
                    <Row key={r.i} r={r} open={open === r.i} toggle={() => setOpen(open === r.i ? null : r.i)} config={config.data?.routes?.[r.i]} />
                  ))}
                </tbody>
              </table>
              {list.length > 500 && <p class="hint pad">The first 500 are shown: search for the others.</p>}
            </Card>
          );
        }}
      </Loaded>
    </>
  );
}
