// A recorded request as a line for a shell.

// quote makes any text one word of a POSIX shell.
export const quote = (s) => "'" + s.replaceAll("'", "'\\''") + "'";

// left out are fields that curl makes itself, or that belong to one connection.
const own = new Set(['host', 'content-length', 'connection', 'transfer-encoding', 'keep-alive', 'upgrade', 'te', 'expect']);

export const hidden = '(hidden)';

export function curl(x) {
  const words = ['curl', '-sS', '-g', '--path-as-is', '-i'];
  const body = x.request?.body;
  const has = body && (body.text || body.base64);
  if (x.method === 'HEAD') words.push('-I');
  else if (x.method !== (has ? 'POST' : 'GET')) words.push('-X', quote(x.method));
  words.push(quote(x.scheme + '://' + x.host + (x.target.startsWith('/') ? x.target : '')));
  let type = false;
  for (const [name, value] of x.request?.fields || []) {
    const low = name.toLowerCase();
    if (own.has(low) || value === hidden) continue;
    type ||= low === 'content-type';
    words.push('-H', quote(value === '' ? name + ';' : name + ': ' + value));
  }
  if (!has) return words.join(' ');
  if (!type) words.push('-H', quote('Content-Type:')); // else curl adds one
  if (body.base64) return 'echo ' + body.base64 + ' | base64 -d | ' + words.join(' ') + ' --data-binary @-';
  return words.join(' ') + ' --data-raw ' + quote(body.text);
}
