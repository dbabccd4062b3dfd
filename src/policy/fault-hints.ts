/**
 * How to mend the validation faults that people make most, in one sentence. The server's own words
 * stand beside it. Must not know where the object came from.
 */
import type { FieldError } from '../k8s/field-error.ts';
import { parseAddress } from '../net/address.ts';
import { cidrOf, formatCidr, parseCidr } from '../net/cidr.ts';

/** The mend for a fault, when the fault leaves little doubt about what was meant. */
export function hintFor(error: FieldError): string | undefined {
  const { path, kind, value } = error;
  const field = path.slice(path.lastIndexOf('.') + 1);
  if (kind === 'NotSupported') return supportedHint(error, field);
  if (kind === 'Required' && error.detail === 'must specify a peer') {
    return 'For everyone leave from or to out; for every pod in the cluster write namespaceSelector: {}.';
  }
  if (kind === 'Forbidden' && error.detail.startsWith('may not specify both ipBlock')) {
    return 'Peers of a list are alternatives: put the ipBlock into an entry of its own.';
  }
  if (kind !== 'Invalid' || typeof value !== 'string') {
    return kind === 'Invalid' ? numberHint(error, field) : undefined;
  }
  if (field === 'port' && /^[0-9]{1,5}$/.test(value)) {
    return 'In quotes it is the name of a port; write the number without quotes.';
  }
  if (field === 'port' && /^[A-Z][A-Z0-9-]*$/i.test(value) && value !== value.toLowerCase()) {
    return `Port names are lower case: ${value.toLowerCase()}.`;
  }
  if (field === 'port' && /^[0-9]+ *[-:] *[0-9]+$/.test(value)) {
    return 'A range is written with port and endPort.';
  }
  if (field === 'port' && /^[0-9]+( *, *[0-9]+)+$/.test(value)) {
    return 'Each port is an entry of its own.';
  }
  if (field === 'operator') return 'Operators are In, NotIn, Exists and DoesNotExist.';
  if (field === 'cidr' || /^(except|networks)\[\d+\]$/.test(field)) return cidrHint(value);
  if (error.detail.startsWith('Start port')) {
    return 'One port is written as number; in a range start is below end.';
  }
  return undefined;
}

function supportedHint(error: FieldError, field: string): string | undefined {
  const given = typeof error.value === 'string' ? error.value : '';
  const meant = (error.supported ?? []).find(
    (name) => name.toLowerCase() === given.toLowerCase() && name !== given,
  );
  if (meant !== undefined) return `Write ${meant}; upper and lower case matter.`;
  if (field === 'protocol' && /^icmp/i.test(given)) {
    return 'Network policies know TCP, UDP and SCTP only; ICMP cannot be written.';
  }
  if (field === 'action' && given === 'Allow') return 'In this version the action is Accept.';
  if (field === 'action' && given === 'Accept') return 'In this version the action is Allow.';
  return undefined;
}

function numberHint(error: FieldError, field: string): string | undefined {
  if (field === 'endPort' && error.detail.startsWith('must be greater')) {
    return 'port is the first port of the range, endPort the last.';
  }
  return undefined;
}

function cidrHint(text: string): string | undefined {
  const trimmed = text.trim();
  const address = parseAddress(trimmed);
  if (address !== undefined) {
    return `A single address is ${formatCidr(cidrOf(address, address.family === 4 ? 32 : 128))}.`;
  }
  if (trimmed !== text && parseCidr(trimmed).ok) return 'Remove the space around it.';
  const read = parseCidr(text);
  return read.ok && read.strictFault !== undefined
    ? `Write ${formatCidr(read.cidr)} to mean what earlier servers made of it.`
    : undefined;
}
