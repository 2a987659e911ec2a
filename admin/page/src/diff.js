// Which lines two lists do not share.

// most bounds the work: longer lists are compared line by line.
const most = 1200;

// diff returns a mark for each line: 'gone' in the first list, 'new' in the second, '' if both have it.
export function diff(a, b) {
  const left = a.map(() => 'gone');
  const right = b.map(() => 'new');
  if (a.length > most || b.length > most) {
    a.forEach((line, i) => line === b[i] && (left[i] = right[i] = ''));
    return [left, right];
  }
  // lengths[i][k] is how much a from i on and b from k on share at most.
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let k = b.length - 1; k >= 0; k--) {
      lengths[i][k] = a[i] === b[k] ? lengths[i + 1][k + 1] + 1 : Math.max(lengths[i + 1][k], lengths[i][k + 1]);
    }
  }
  for (let i = 0, k = 0; i < a.length && k < b.length; ) {
    if (a[i] === b[k]) left[i++] = right[k++] = '';
    else if (lengths[i + 1][k] >= lengths[i][k + 1]) i++;
    else k++;
  }
  return [left, right];
}
