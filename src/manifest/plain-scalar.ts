/**
 * What an unquoted YAML scalar means to Kubernetes, which reads YAML 1.1 as Go's yaml v2 does: `yes`
 * is true, `0777` is 511, `1:30` and `2020-01-01` are strings. Must not know where the scalar stands.
 */

const words = new Map<string, boolean | null>([
  ['', null],
  ...['~', 'null', 'Null', 'NULL'].map((word): [string, null] => [word, null]),
  ...['y', 'Y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON'].map(
    (word): [string, boolean] => [word, true],
  ),
  ...['n', 'N', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF'].map(
    (word): [string, boolean] => [word, false],
  ),
]);

const FLOAT = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/;
const BASED = /^([-+]?)0(?:[xX]([0-9a-fA-F]+)|[oO]?([0-7]+)|[bB]([01]+))$/;

/**
 * Resolves a plain scalar. Infinities and not-a-number stay strings, because JSON has no word for
 * them.
 */
export function resolvePlainScalar(source: string): string | number | boolean | null {
  if (source.length <= 5) {
    const word = words.get(source);
    if (word !== undefined) return word;
  }
  const first = source.charCodeAt(0);
  // Digits, `+`, `-` and `.` begin numbers; nothing else does.
  if (!((first >= 48 && first <= 57) || first === 43 || first === 45 || first === 46))
    return source;
  const digits = first !== 46 && source.includes('_') ? source.replaceAll('_', '') : source;
  const based = BASED.exec(digits);
  if (based !== null) {
    const [, sign, hex, octal, binary] = based;
    const value =
      hex !== undefined
        ? parseInt(hex, 16)
        : octal !== undefined
          ? parseInt(octal, 8)
          : parseInt(binary ?? '0', 2);
    // Not minus zero: Go's integer has none.
    return sign === '-' && value !== 0 ? -value : value;
  }
  if (!FLOAT.test(digits)) return source;
  const value = Number(digits);
  if (!Number.isFinite(value)) return source;
  return value === 0 ? 0 : value;
}
