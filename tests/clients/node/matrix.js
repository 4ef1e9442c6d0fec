// What every node program of the client matrix shares; see matrix.py, which does the same for Python.

'use strict';

const fs = require('fs');
const readline = require('readline');

const [port, certs, upstream, library, ...rest] = process.argv.slice(2);
const address = { host: upstream.split(':')[0], port: Number(upstream.split(':')[1]) };
const file = (name) => fs.readFileSync(`${certs}/${name}`);
const tls = (name) => ({ ca: file('ca.pem'), cert: file(`${name}.pem`), key: file(`${name}.key`) });
// Whether clients share their connections to the Redis.
const shared = 'MATRIX_SHARED' in process.env;
const input = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

class Expected extends Error {}

// The library, or this way to use it, has no such thing.
class NotHere extends Error {}

function check(truth, ...seen) {
  if (!truth) throw new Expected(`not as expected: ${JSON.stringify(seen)}`);
}

function same(answer, expected) {
  // Maps, sets and objects of any prototype, as plain values.
  const plain = (value) => {
    if (value instanceof Map) return plain(Object.fromEntries(value));
    if (value instanceof Set) return [...value].map(plain);
    if (Array.isArray(value)) return value.map(plain);
    if (value !== null && typeof value === 'object' && !Buffer.isBuffer(value)) {
      return Object.fromEntries(Object.keys(value).sort().map((key) => [key, plain(value[key])]));
    }
    return value;
  };
  const text = (value) => JSON.stringify(plain(value));
  check(text(answer) === text(expected), answer, expected);
}

// The call must fail with an error whose text is like this.
async function refused(call, like = /NOPERM/) {
  let answer;
  try {
    answer = await call();
  } catch (why) {
    check(like.test(why.message), why.message);
    return why.message;
  }
  throw new Expected(`not refused: ${JSON.stringify(answer)}`);
}

async function eventually(what, ask) {
  for (const start = Date.now(); Date.now() - start < 20_000; await new Promise((wake) => setTimeout(wake, 10))) {
    if (await ask()) return;
  }
  throw new Expected(`not within 20 s: ${what}`);
}

async function restart() {
  console.log('restart');
  const { value } = await input.next();
  check(value === 'done', value);
}

const text = (why) => `${why.constructor.name}: ${why.message}`.replaceAll('\n', ' ');

// A check that hangs says so; the time is what a busy machine may need for the longest.
const PATIENCE = 60_000;

async function outcome(one, make) {
  let timer;
  const hangs = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Expected('it hangs')), PATIENCE);
  });
  try {
    await Promise.race([one(make), hangs]);
  } catch (why) {
    return why;
  } finally {
    clearTimeout(timer);
    await make.close();
  }
  return null;
}

async function runAll(checks, proxied, direct) {
  // The installed one's package.json may not be exported.
  const version = JSON.parse(fs.readFileSync(`${process.env.NODE_PATH}/${library}/package.json`)).version;
  const title = library.startsWith('redis') ? 'node-redis' : 'ioredis';
  console.log(`library ${title} ${version}`);
  let failed = false;
  for (const one of checks) {
    const name = one.name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
    const why = await outcome(one, proxied);
    if (why === null) {
      console.log(`pass ${name}`);
      continue;
    }
    if (why instanceof NotHere) {
      console.log(`none ${name}`);
      continue;
    }
    const directly = await outcome(one, direct);
    if (directly !== null && text(directly) === text(why) && !(why instanceof Expected)) {
      console.log(`lacks ${name}: ${text(why)}`);
      continue;
    }
    failed = true;
    console.log(`FAIL ${name}: ${text(why)} | direct: ${directly === null ? 'passes' : text(directly)}`);
    console.log(why.stack);
  }
  console.log(failed ? 'failed' : 'passed');
  process.exit(failed ? 1 : 0);
}

module.exports = { address, check, eventually, library, NotHere, PATIENCE, port: Number(port), refused, rest, restart, runAll, same, shared, tls };
