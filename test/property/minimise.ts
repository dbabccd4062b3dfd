/**
 * Makes a failing input small: drops objects, fields and list items as long as the failure stays.
 * Must not know what fails.
 */

type Path = readonly (string | number)[];

/** The smallest JSON value it finds that still `fails`. Never changes its argument. */
export function minimise<T>(value: T, fails: (candidate: T) => boolean): T {
  let current = value;
  for (let progress = true; progress;) {
    progress = false;
    for (const path of paths(current).toReversed()) {
      const candidate = without(current, path) as T;
      if (!stillFails(fails, candidate)) continue;
      current = candidate;
      progress = true;
    }
  }
  return current;
}

function stillFails<T>(fails: (candidate: T) => boolean, candidate: T): boolean {
  try {
    return fails(candidate);
  } catch {
    return false;
  }
}

/** Every field and item inside, outer ones last. */
function paths(value: unknown, at: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [];
  const keys: Path = Array.isArray(value) ? value.map((_, index) => index) : Object.keys(value);
  return keys.flatMap((key) => {
    const child: unknown = (value as Record<string | number, unknown>)[key];
    return [[...at, key], ...paths(child, [...at, key])];
  });
}

function without(value: unknown, path: Path): unknown {
  const [key, ...rest] = path;
  if (key === undefined || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    if (rest.length === 0) return value.filter((_, index) => index !== key);
    return value.map((item: unknown, index) => (index === key ? without(item, rest) : item));
  }
  const entries = Object.entries(value);
  if (rest.length === 0) return Object.fromEntries(entries.filter(([name]) => name !== key));
  return Object.fromEntries(
    entries.map(([name, item]) => [name, name === key ? without(item, rest) : item]),
  );
}
