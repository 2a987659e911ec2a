// The configuration in force, its problems, and how the last reloads went.
import { useEffect, useState } from 'preact/hooks';
import { get, send, usePoll } from '../api.js';
import { ago, moment } from '../format.js';
import { Button, Card, Choice, Empty, Failure, Loaded, Pill, copy, useShell } from '../ui.jsx';

const tones = { add: 'ok', drop: 'bad' };

const Reloads = ({ status }) => {
  if (!status.last_reloads.length) return <Empty title="No reload yet">The configuration is that of the start, {moment(status.started)}.</Empty>;
  return (
    <ol class="reloads">
      {status.last_reloads.map((r) => (
        <li key={r.time}>
          <Pill tone={r.ok ? 'ok' : 'bad'}>{r.ok ? 'loaded' : 'failed'}</Pill>
          <time dateTime={r.time} title={moment(r.time)}>{ago(new Date(r.time))}</time>
          {r.error && <pre>{r.error}</pre>}
        </li>
      ))}
    </ol>
  );
};

const Problems = ({ list }) => {
  if (!list.length) return <Empty title="No problems">Nothing in it looks as if it were not meant.</Empty>;
  return (
    <ul class="troubles">
      {list.map((p) => <li key={p}><span class="row"><Pill tone="warn">look</Pill> <span>{p}</span></span></li>)}
    </ul>
  );
};

// Plan is what a reload would do now.
function Plan() {
  const [state, setState] = useState({});
  const ask = () => {
    setState({ asking: true });
    get('/plan').then((plan) => setState({ plan }), (error) => setState({ error }));
  };
  const { plan, error, asking } = state;
  return (
    <Card id="plan" title="If it were loaded again now" flush aside={<Button kind="small" onClick={ask} disabled={asking}>{plan ? 'Look again' : 'What would change?'}</Button>}>
      {error && <Failure error={error} />}
      {plan?.problem && <Failure error={{ message: plan.problem }} />}
      {plan && !plan.changes?.length && !plan.problem && <Empty title="Nothing would change" />}
      {plan?.changes?.length > 0 && (
        <ul class="troubles">
          {plan.changes.map((c, i) => (
            <li key={i}>
              <span class="row">
                <Pill tone={tones[c.do] || 'accent'}>{c.do}</Pill>
                <span>
                  {c.what} <b>{c.name}</b>
                  {c.keys?.length > 0 && <small>{c.keys.join(', ')}</small>}
                  {c.effect && <small>{c.effect}</small>}
                </span>
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

// paint splits a line of TOML into its parts.
function paint(line, i) {
  const table = line.match(/^\s*\[.*\]\s*$/);
  const pair = line.match(/^(\s*)([^=]+?)( = )(.*)$/);
  if (table) return <span key={i} class="toml-table">{line + '\n'}</span>;
  if (pair) return <span key={i}>{pair[1]}<span class="toml-key">{pair[2]}</span>{pair[3]}<span class="toml-value">{pair[4]}</span>{'\n'}</span>;
  return <span key={i}>{line + '\n'}</span>;
}

function File() {
  const [all, setAll] = useState('');
  const [state, setState] = useState({});
  const { toast, status } = useShell();
  useEffect(() => {
    send('GET', '/config?format=toml' + (all ? '&all=true' : '')).then((r) => r.text()).then((text) => setState({ text }), (error) => setState({ error }));
  }, [all, status?.loaded]);
  return (
    <Card id="file" title="In force" flush aside={
      <span class="facts">
        <Choice label="Which keys" value={all} options={[['', 'What differs'], ['all', 'Every key']]} onChange={setAll} />
        <Button kind="small" icon="copy" onClick={() => copy(state.text, toast)}>Copy</Button>
      </span>
    }>
      {state.error ? <Failure error={state.error} /> : <pre class="toml" tabIndex={0}>{state.text === undefined ? 'Loading …' : state.text.split('\n').map(paint)}</pre>}
    </Card>
  );
}

export function Config() {
  const { status } = useShell();
  const problems = usePoll('/config/problems', 30000);
  return (
    <>
      <header class="top"><h1>Configuration</h1>{status?.reload_failed && <Pill tone="bad">not that of the file</Pill>}</header>
      <div class="pair">
        <Card id="problems" title="Problems" flush><Loaded of={problems}>{({ problems }) => <Problems list={problems} />}</Loaded></Card>
        <Card id="reloads" title="Last reloads" flush>{status ? <Reloads status={status} /> : <div class="loading">Loading …</div>}</Card>
      </div>
      <Plan />
      <File />
    </>
  );
}
