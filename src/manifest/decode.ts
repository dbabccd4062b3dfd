/**
 * Bytes to text: UTF-8 only, with the place of the first fault. Must not know what the text means.
 */

/** Part of the Encoding standard, in browsers and Node alike, but in neither's types here. */
declare const TextDecoder: new (
  label: 'utf-8',
  options: { fatal: true },
) => { decode(bytes: Uint8Array): string };

export type DecodeResult =
  | { readonly ok: true; readonly text: string }
  | {
      readonly ok: false;
      readonly code: 'invalid-utf8' | 'binary-input';
      readonly message: string;
      readonly hint: string;
      /** The text before the fault, for line and column. */
      readonly before: string;
    };

/** Decodes UTF-8 and drops a byte order mark. NUL bytes mean that this is no text at all. */
export function decodeText(input: string | Uint8Array): DecodeResult {
  if (typeof input === 'string') {
    const nul = input.indexOf('\0');
    if (nul >= 0) return binary(input.slice(0, nul));
    return { ok: true, text: input.startsWith('\uFEFF') ? input.slice(1) : input };
  }
  const [first, second] = input;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff))
    return {
      ok: false,
      code: 'invalid-utf8',
      message: 'the file is UTF-16, not UTF-8',
      hint: 'save it as UTF-8',
      before: '',
    };
  const nul = input.indexOf(0);
  if (nul >= 0) return binary(decode(input.subarray(0, nul)) ?? '');
  const text = decode(input);
  if (text !== undefined) return { ok: true, text };
  const valid = validPrefix(input);
  return {
    ok: false,
    code: 'invalid-utf8',
    message: `byte ${valid + 1} (0x${(input[valid] ?? 0).toString(16).padStart(2, '0')}) is not valid UTF-8`,
    hint: 'save the file as UTF-8',
    before: decode(input.subarray(0, valid)) ?? '',
  };
}

function binary(before: string): DecodeResult {
  return {
    ok: false,
    code: 'binary-input',
    message: 'this is a binary file, not YAML or JSON: it holds NUL bytes',
    hint: 'give manifests as YAML or JSON text',
    before,
  };
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** Length of the longest valid beginning, by halving: the decoder does not say where it stopped. */
function validPrefix(bytes: Uint8Array): number {
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (decode(bytes.subarray(0, cutBack(bytes, middle))) !== undefined) low = middle;
    else high = middle - 1;
  }
  return cutBack(bytes, low);
}

/** The start of the character that `end` would cut in two, or `end`. */
function cutBack(bytes: Uint8Array, end: number): number {
  for (let back = 1; back <= 3 && end - back >= 0; back++) {
    const byte = bytes[end - back] as number;
    if (byte < 0x80) return end;
    if (byte >= 0xc0) {
      const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return length > back ? end - back : end;
    }
  }
  return end;
}
