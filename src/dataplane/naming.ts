/**
 * Names for kernel objects: content in, short stable name out. Must not know what the content means.
 */
import { createHash } from 'node:crypto';

/**
 * 96 bits of SHA-256 in hexadecimal. Policies are written by tenants, so a name must not be
 * something a tenant can bring to collide with another's.
 */
export function nameOf(prefix: string, ...content: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of content) {
    hash.update(part);
    hash.update('\u0000');
  }
  return `${prefix}_${hash.digest('hex').slice(0, 24)}`;
}
