// Where targets come from: services that are registered, and sources with how they are.
import { usePoll } from '../api.js';
import { ago, moment, plural, span } from '../format.js';
import { link, replace } from '../router.js';
import { Card, Empty, Loaded, Pill, Search } from '../ui.jsx';

const When = ({ at, never }) => (at ? <time dateTime={at} title={moment(at)}>{ago(new Date(at))}</time> : never);

// health says how a source is, in a word and a sentence.
function health(s) {
  if (s.failing) return ['bad', 'failing', s.failing];
  if (s.empty_since) return ['warn', 'empty', 'it finds nothing, which is not believed yet'];
  if (s.restored) return ['warn', 'restored', 'its endpoints are from before the start'];
  if (!s.seen) return ['warn', 'waiting', 'it has not reported yet'];
  return ['ok', 'reports', ''];
}

const Source = ({ s }) => {
  const [tone, word, why] = health(s);
  const held = Object.keys(s.held || {});
  return (
    <tr>
      <td class="head wrap"><code>{s.name}</code></td>
      <td data-label="for" class="wrap">{s.upstream ? <a href={link('upstreams', [], { q: s.upstream })}>{s.upstream}</a> : 'services'}</td>
      <td data-label="state" class="wrap">
        <Pill tone={tone}>{word}</Pill> {why}
        {s.failing_since && <small> since <When at={s.failing_since} /></small>}
        {held.length > 0 && <small class="reason">held because they come and go: {held.join(', ')}</small>}
      </td>
      <td data-label="in use" class="n">{s.endpoints}{s.rejected > 0 && <small> {s.rejected} unusable</small>}</td>
      <td data-label="seen"><When at={s.seen} never="never" /></td>
    </tr>
  );
};

const Endpoint = ({ e }) => (
  <tr>
    <td class="head wrap"><code>{e.url}</code></td>
    <td data-label="state" class="wrap">
      {e.drain ? <Pill tone="warn">draining</Pill> : e.missing ? <Pill tone="warn">missing</Pill> : <Pill tone="ok">registered</Pill>}
      {e.missing && <small> its catalog has nothing of it since <When at={e.missing} /></small>}
      {e.failures > 0 && <small> {plural(e.failures, 'failure')} in a row</small>}
    </td>
    <td data-label="weight" class="n">{e.weight}</td>
    <td data-label="from" class="wrap">{e.catalog || 'the admin API or the program'}</td>
    <td data-label="seen"><When at={e.seen} never="never" />{e.ttl_seconds > 0 && <small> goes {span(e.ttl_seconds)} after the last sign of life</small>}</td>
  </tr>
);

const Service = ({ s }) => {
  const name = s.version ? s.name + '/' + s.version : s.name;
  return (
    <Card id={'s-' + name} title={name} flush aside={<span class="facts">{plural(s.endpoints.length, 'endpoint')} <a href={link('upstreams', [], { q: name })}>targets</a></span>}>
      {s.endpoints.length ? (
        <table class="rows">
          <thead><tr><th>Endpoint</th><th>State</th><th class="n">Weight</th><th>From</th><th>Seen</th></tr></thead>
          <tbody>{s.endpoints.map((e) => <Endpoint key={e.url} e={e} />)}</tbody>
        </table>
      ) : <Empty title="No endpoint">Requests for it are answered with 503.</Empty>}
    </Card>
  );
};

const fits = (thing, q) => JSON.stringify(thing).toLowerCase().includes(q.toLowerCase());

export function Discovery({ route }) {
  const services = usePoll('/registry', 3000);
  const sources = usePoll('/sources', 3000);
  const q = route.query.q || '';
  return (
    <>
      <header class="top">
        <h1>Discovery</h1>
        <Search value={q} label="Search sources and services" placeholder="service, endpoint, source" onInput={(q) => replace('discovery', [], { q })} />
      </header>
      <Loaded of={sources}>
        {({ sources: all }) => {
          const list = (all || []).filter((s) => fits(s, q));
          return (
            <Card id="sources" title="Sources" flush>
              {list.length ? (
                <table class="rows">
                  <thead><tr><th>Source</th><th>For</th><th>State</th><th class="n">In use</th><th>Last report</th></tr></thead>
                  <tbody>{list.map((s) => <Source key={s.upstream + ' ' + s.name} s={s} />)}</tbody>
                </table>
              ) : <Empty title={q ? 'No source fits the search' : 'There are no sources'}>{!q && 'A target such as "dns:app:8080" or a catalog in [discovery] is one.'}</Empty>}
            </Card>
          );
        }}
      </Loaded>
      <Loaded of={services}>
        {({ services: all }) => {
          const list = (all || []).filter((s) => fits(s, q));
          if (!list.length) return <Card id="services" title="Services" flush><Empty title={q ? 'No service fits the search' : 'No service is registered'}>{!q && 'weir register, PUT /registry and catalogs register services.'}</Empty></Card>;
          return list.map((s) => <Service key={s.name + '/' + s.version} s={s} />);
        }}
      </Loaded>
    </>
  );
}
