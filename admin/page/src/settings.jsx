// Settings shows a table of the configuration as names and values.
const plain = (v) => v === null || typeof v !== 'object';

function Value({ v }) {
  if (plain(v)) return <code>{typeof v === 'string' ? v || '""' : String(v)}</code>;
  if (Array.isArray(v) && v.every(plain)) return <code>{v.length ? v.join(', ') : '[]'}</code>;
  if (Array.isArray(v)) return <>{v.map((x, i) => <Settings key={i} of={x} />)}</>;
  return <Settings of={v} />;
}

export const Settings = ({ of }) => (
  <dl class="settings">
    {Object.entries(of).map(([name, v]) => (
      <div key={name} class={plain(v) || (Array.isArray(v) && v.every(plain)) ? '' : 'table'}>
        <dt>{name}</dt>
        <dd><Value v={v} /></dd>
      </div>
    ))}
  </dl>
);
