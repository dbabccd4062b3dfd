/**
 * Syntax of Kubernetes names: labels, subdomains, qualified names, port names. Each check returns
 * the API server's own messages (empty means valid). Must not know which field a name stands in.
 *
 * Wording: apimachinery as of Kubernetes 1.34/1.35 (util/validation plus api/validate/content).
 * There, label keys and values say "bytes" and "a valid label key", while DNS names and port names
 * still say "characters". Servers up to 1.33 say "characters" and "a qualified name" everywhere.
 */

const dnsLabelFormat = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const dnsSubdomainFormat = `${dnsLabelFormat}(\\.${dnsLabelFormat})*`;
const labelKeyFormat = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]';
const labelValueFormat = `(${labelKeyFormat})?`;

const dnsLabelPattern = new RegExp(`^${dnsLabelFormat}$`);
const dnsSubdomainPattern = new RegExp(`^${dnsSubdomainFormat}$`);
const labelKeyPattern = new RegExp(`^${labelKeyFormat}$`);
const labelValuePattern = new RegExp(`^${labelValueFormat}$`);
const portCharactersPattern = /^[-a-z0-9]+$/;
const letterPattern = /[a-z]/;

const none: string[] = [];

/** Length in UTF-8 bytes, which is what the API server counts. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    // A surrogate pair is two units and four bytes: two more for the pair, one for each unit.
    bytes += unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2;
  }
  return bytes;
}

function regexMessage(message: string, format: string, ...examples: string[]): string {
  const shown = examples.map((example) => `'${example}', `).join(' or ');
  return `${message} (e.g. ${shown}regex used for validation is '${format}')`;
}

function atMostCharacters(length: number): string {
  return `must be no more than ${length} characters`;
}

function atMostBytes(length: number): string {
  return `must be no more than ${length} bytes`;
}

/** `must be between <low> and <high>, inclusive`. */
export function inclusiveRangeMessage(low: number, high: number): string {
  return `must be between ${low} and ${high}, inclusive`;
}

/** A DNS-1123 label of at most 63 characters: namespace names (S35). */
export function isDns1123Label(value: string): string[] {
  const tooLong = utf8Length(value) > 63;
  if (dnsLabelPattern.test(value)) return tooLong ? [atMostCharacters(63)] : none;
  const faults = tooLong ? [atMostCharacters(63)] : [];
  faults.push(
    dnsSubdomainPattern.test(value)
      ? 'must not contain dots'
      : regexMessage(
          "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
          dnsLabelFormat,
          'my-name',
          '123-abc',
        ),
  );
  return faults;
}

function subdomainFaults(value: string, lengthMessage: (length: number) => string): string[] {
  const tooLong = utf8Length(value) > 253;
  const matches = dnsSubdomainPattern.test(value);
  if (matches && !tooLong) return none;
  const faults = tooLong ? [lengthMessage(253)] : [];
  if (!matches) {
    faults.push(
      regexMessage(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        dnsSubdomainFormat,
        'example.com',
      ),
    );
  }
  return faults;
}

/** A DNS-1123 subdomain of at most 253 characters: most object names (S33). */
export function isDns1123Subdomain(value: string): string[] {
  return subdomainFaults(value, atMostCharacters);
}

/** A label key: optional DNS subdomain prefix and `/`, then a name of 1–63 characters (S80). */
export function isQualifiedName(value: string): string[] {
  const parts = value.split('/');
  const faults: string[] = [];
  let name = parts[0] ?? '';
  if (parts.length > 2) {
    const message = regexMessage(
      "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
      labelKeyFormat,
      'MyName',
      'my.name',
      '123-abc',
    );
    return [`${message} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`];
  }
  if (parts.length === 2) {
    const prefix = name;
    name = parts[1] ?? '';
    if (prefix === '') faults.push('prefix part must be non-empty');
    else {
      for (const fault of subdomainFaults(prefix, atMostBytes)) faults.push(`prefix part ${fault}`);
    }
  }
  if (name === '') faults.push('name part must be non-empty');
  else if (utf8Length(name) > 63) faults.push(`name part ${atMostBytes(63)}`);
  if (!labelKeyPattern.test(name)) {
    faults.push(
      `name part ${regexMessage(
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        labelKeyFormat,
        'MyName',
        'my.name',
        '123-abc',
      )}`,
    );
  }
  return faults;
}

/** A label value: empty, or 1–63 characters that start and end alphanumeric (S81). */
export function isLabelValue(value: string): string[] {
  const tooLong = utf8Length(value) > 63;
  const matches = labelValuePattern.test(value);
  if (matches && !tooLong) return none;
  const faults = tooLong ? [atMostBytes(63)] : [];
  if (!matches) {
    faults.push(
      regexMessage(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        labelValueFormat,
        'MyValue',
        'my_value',
        '12345',
      ),
    );
  }
  return faults;
}

/** The name of a container port, as policies refer to it; one message per broken rule (S44). */
export function isValidPortName(value: string): string[] {
  const faults: string[] = [];
  if (utf8Length(value) > 15) faults.push(atMostCharacters(15));
  if (!portCharactersPattern.test(value)) {
    faults.push('must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)');
  }
  if (!letterPattern.test(value)) faults.push('must contain at least one letter (a-z)');
  if (value.includes('--')) faults.push('must not contain consecutive hyphens');
  if (value.startsWith('-') || value.endsWith('-')) {
    faults.push('must not begin or end with a hyphen');
  }
  return faults;
}

/** A port number, 1–65535 (S43). */
export function isValidPortNumber(value: number): string[] {
  return value >= 1 && value <= 65535 ? none : [inclusiveRangeMessage(1, 65535)];
}
