// What applications do, with ioredis: PORT CERTIFICATES UPSTREAM ioredis|ioredis-5 default|autopipelining

'use strict';

const { address, check, eventually, library, NotHere, port, refused, rest, restart, runAll, same, shared, tls } = require('./matrix.js');
const Redis = require(library);

const AUTOMATIC = rest[0] === 'autopipelining' ? { enableAutoPipelining: true } : {};
// The newest asks for RESP3, and goes on with RESP2 where the server has none.
const RESP3 = library === 'ioredis';

function factory(place) {
  let made = [];
  const make = (name = 'cart', more = {}) => {
    const client = new Redis({ ...place(name), ...AUTOMATIC, ...more });
    // The library's own words about connections that end are no failure: commands have their own.
    client.on('error', () => {});
    made.push(client);
    return client;
  };
  make.close = async () => {
    made.forEach((client) => client.disconnect());
    made = [];
  };
  return make;
}

const proxied = (name) => ({ host: 'localhost', port, tls: tls(name) });
const direct = () => address;

// === the checks ===

async function strings(make) {
  const r = make();
  same(await r.ping(), 'PONG');
  same(await r.set('cart:s', 'value'), 'OK');
  same([await r.get('cart:s'), await r.get('cart:none')], ['value', null]);
  await r.del('cart:n');
  same([await r.incr('cart:n'), await r.incrby('cart:n', 41)], [1, 42]);
  await r.mset('cart:m1', 1, 'cart:m2', 2);
  same(await r.mget('cart:m1', 'cart:none', 'cart:m2'), ['1', null, '2']);
  same(await r.set('cart:ttl', 'x', 'EX', 100), 'OK');
  check((await r.ttl('cart:ttl')) > 0);
  const binary = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.from('\r\n$-1\r\n*3\r\n')]);
  await r.set(Buffer.from([0x63, 0x61, 0x72, 0x74, 0x3a, 0, 255]), binary);
  check(binary.equals(await r.getBuffer(Buffer.from([0x63, 0x61, 0x72, 0x74, 0x3a, 0, 255]))));
}

async function collections(make) {
  const r = make();
  await r.del('cart:h', 'cart:l', 'cart:set', 'cart:z', 'cart:x');
  same(await r.hset('cart:h', { a: '1', b: 'zwei' }), 2);
  same(await r.hgetall('cart:h'), { a: '1', b: 'zwei' });
  same(await r.rpush('cart:l', 'a', 'b', 'c'), 3);
  same(await r.lrange('cart:l', 0, -1), ['a', 'b', 'c']);
  same(await r.sadd('cart:set', 'x', 'y'), 2);
  same((await r.smembers('cart:set')).sort(), ['x', 'y']);
  same(await r.zadd('cart:z', 1, 'one', 0.5, 'half'), 2);
  same((await r.zrange('cart:z', 0, -1, 'WITHSCORES')).flat().map(String), ['half', '0.5', 'one', '1']);
  same(Number(await r.zscore('cart:z', 'half')), 0.5);
  const first = await r.xadd('cart:x', '*', 'field', 'value');
  await r.xadd('cart:x', '*', 'field', 'more');
  same(await r.xgroup('CREATE', 'cart:x', 'group', '0'), 'OK');
  const read = await r.xreadgroup('GROUP', 'group', 'consumer', 'COUNT', 1, 'STREAMS', 'cart:x', '>');
  check(JSON.stringify(read).includes(first), read);
  same(await r.xack('cart:x', 'group', first), 1);
  same((await r.xrange('cart:x', '-', '+')).length, 2);
}

async function pipeline(make) {
  const r = make();
  const answers = await r.pipeline().set('cart:p', '1').get('other').get('cart:p').flushall().get('cart:p').exec();
  same([answers[0][1], answers[2][1], answers[4][1]], ['OK', '1', '1']);
  check([1, 3].every((i) => /NOPERM/.test(answers[i][0].message)), answers);
}

async function transaction(make) {
  const r = make();
  const other = make();
  same(await r.multi().set('cart:t', 1).incr('cart:t').exec(), [[null, 'OK'], [null, 2]]);
  await r.watch('cart:t');
  same(await r.get('cart:t'), '2');
  await other.incr('cart:t');
  same(await r.multi().set('cart:t', 100).exec(), null);
  same(await r.get('cart:t'), '3');
  await refused(() => r.multi().incr('cart:t').get('other').exec(), /EXECABORT/);
  same(await r.get('cart:t'), '3');
}

async function scan(make) {
  const r = make();
  const pipe = r.pipeline();
  for (let i = 0; i < 300; i++) pipe.set(`cart:scan:${i}`, i).hset('cart:scanned', `f${i}`, i);
  await pipe.exec();
  const found = new Set();
  for await (const keys of r.scanStream({ match: 'cart:scan:*', count: 50 })) keys.forEach((key) => found.add(key));
  same(found.size, 300);
  const fields = new Set();
  for await (const pairs of r.hscanStream('cart:scanned')) pairs.forEach((field, i) => i % 2 || fields.add(field));
  same(fields.size, 300);
}

async function scripts(make) {
  const r = make();
  const admin = make('admin');
  same(await r.eval('return {KEYS[1], ARGV[1], 3}', 1, 'cart:k', 'a'), ['cart:k', 'a', 3]);
  r.defineCommand('double', { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], ARGV[1]) * 2" });
  await r.del('cart:script');
  await admin.script('FLUSH');
  same(await r.double('cart:script', 5), 10);
  await admin.script('FLUSH');
  // The client tries EVALSHA, and EVAL on NOSCRIPT.
  same(await r.double('cart:script', 5), 20);
  same(await r.pipeline().double('cart:script', 5).get('cart:script').exec(), [[null, 30], [null, '15']]);
  await refused(() => r.evalsha('0'.repeat(40), 0), /NOSCRIPT/);
}

async function blocked(make) {
  const admin = make('admin');
  await eventually('a client blocks', async () => /blocked_clients:1\r/.test(await admin.info('clients')));
}

async function blockingPop(make) {
  const r = make();
  const other = make();
  await r.del('cart:queue', 'cart:stream');
  let waiting = r.blpop('cart:queue', 20);
  await blocked(make);
  await other.rpush('cart:queue', 'job');
  same(await waiting, ['cart:queue', 'job']);
  waiting = r.xread('BLOCK', 20_000, 'STREAMS', 'cart:stream', '$');
  await blocked(make);
  await other.xadd('cart:stream', '*', 'f', 'event');
  check(JSON.stringify(await waiting).includes('event'));
}

async function pubSub(make) {
  const r = make();
  const sub = make();
  const heard = [];
  sub.on('message', (channel, message) => heard.push([channel, message]));
  sub.on('pmessage', (pattern, channel, message) => heard.push([pattern, channel, message]));
  same(await sub.subscribe('cart:news', 'cart:more'), 2);
  same(await sub.psubscribe('cart:p*'), 3);
  const expected = [];
  for (let i = 0; i < 50; i++) {
    same(await r.publish('cart:news', `message ${i}`), 1);
    same(await r.publish('cart:pattern', `pattern ${i}`), 1);
    expected.push(['cart:news', `message ${i}`], ['cart:p*', 'cart:pattern', `pattern ${i}`]);
  }
  await eventually('every message', () => heard.length === 100);
  same(heard, expected);
  same(await sub.unsubscribe('cart:news'), 2);
  same(await r.publish('cart:news', 'unheard'), 0);
  same(await sub.subscribe('cart:again'), 3);
  await sub.ping();
  // By name: without one the library waits for ever, in front of a plain Redis too.
  same(await sub.unsubscribe('cart:more', 'cart:again'), 1);
  same(await sub.punsubscribe('cart:p*'), 0);
  // Without subscriptions it is an ordinary connection again.
  same(await sub.set('cart:after', '1'), 'OK');
}

async function channelsOfOthers(make) {
  const r = make();
  await refused(() => r.publish('other', 'x'), /NOPERM.*channel/);
  const sub = make();
  await refused(() => sub.subscribe('other'), /NOPERM.*channel/);
  same(await sub.subscribe('cart:mine'), 1);
}

async function shardedPubSub(make) {
  const r = make();
  const sub = make();
  const heard = [];
  sub.on('smessage', (channel, message) => heard.push([channel, message]));
  same(await r.spublish('cart:shard', 'nobody'), 0);
  same(await sub.ssubscribe('cart:shard'), 1);
  same(await r.spublish('cart:shard', 'm'), 1);
  await eventually('the message', () => heard.length === 1);
  same(heard, [['cart:shard', 'm']]);
}

async function refusals(make) {
  const r = make();
  await refused(() => r.flushall(), /NOPERM.*flushall/);
  await refused(() => r.get('other'), /NOPERM.*key/);
  await refused(() => r.config('GET', '*'), /NOPERM.*config\|get/);
  same(await r.ping(), 'PONG');
}

async function largeValue(make) {
  const r = make();
  const value = Buffer.alloc(20 << 20, 'respgate');
  await r.set('cart:large', value);
  check(value.equals(await r.getBuffer('cart:large')));
  await r.del('cart:large');
}

async function longPipeline(make) {
  const r = make();
  const pipe = r.pipeline();
  for (let i = 0; i < 5000; i++) pipe.set(`cart:long:${i % 100}`, i).get(`cart:long:${i % 100}`);
  const answers = await pipe.exec();
  check(answers.every(([why, answer], i) => why === null && answer === (i % 2 ? String((i - 1) / 2) : 'OK')));
  // And without one: what the library does with many calls at once.
  const gets = await Promise.all(Array.from({ length: 1000 }, (_, i) => r.get(`cart:long:${i % 100}`)));
  same(gets.length, 1000);
}

async function databases(make) {
  const one = make('cart', { db: 3 });
  const other = make('cart', { db: 4 });
  await one.set('cart:db', 'three');
  same([await one.get('cart:db'), await other.get('cart:db')], ['three', null]);
  await other.select(3);
  same(await other.get('cart:db'), 'three');
}

async function namesAndIds(make) {
  const r = make('cart', { connectionName: 'shop' });
  const admin = make('admin');
  same(await r.client('GETNAME'), 'shop');
  const number = await r.client('ID');
  if (shared) {
    // The Redis has no such client.
    check(!(await admin.client('LIST')).includes(' name=shop '));
    same(await admin.client('KILL', 'ID', number), 0);
    return;
  }
  const line = (await admin.client('LIST')).split('\n').find((one) => one.includes(' name=shop '));
  check(line.startsWith(`id=${number} `), line, number);
  same(await admin.client('KILL', 'ID', number), 1);
  // The client comes back by itself, under its name.
  await eventually('another connection', async () => (await r.client('ID')) !== number);
  same(await r.client('GETNAME'), 'shop');
}

async function whoAmI(make) {
  const r = make();
  same(await r.acl('WHOAMI'), 'cart');
  await refused(() => r.acl('LIST'), /NOPERM.*acl\|list/);
}

async function monitor(make) {
  const r = make();
  const admin = make('admin');
  // What they ask when they connect must not be the first line: where that comes with the +OK, ioredis fails.
  await r.get('cart:watched');
  await admin.ping();
  const lines = await admin.monitor();
  lines.on('error', () => {});
  const seen = [];
  lines.on('monitor', (_time, args) => seen.push(args));
  await r.set('cart:watched', 'm');
  await eventually('its line', () => seen.some((args) => args[0].toLowerCase() === 'set' && args[1] === 'cart:watched'));
  lines.disconnect();
}

async function nativeTypes(make) {
  if (!RESP3) throw new NotHere();
  // The types of the wire as they came: by default it gives the shapes of RESP2. It warns where the server has no RESP3.
  const warn = console.warn;
  console.warn = () => {};
  const r = make('cart', { replyMapping: 'resp3' });
  try {
    await r.del('cart:z3', 'cart:h3');
    await r.zadd('cart:z3', 1.5, 'm');
    await r.hset('cart:h3', 'f', 'v');
    const script = "redis.setresp(3); return {redis.call('ZSCORE', KEYS[1], 'm'), redis.call('HGETALL', KEYS[2])}";
    const [score, map] = await r.eval(script, 2, 'cart:z3', 'cart:h3');
    same(Number(score.double ?? score), 1.5);
    check(!Array.isArray(map), map);
  } finally {
    console.warn = warn;
  }
}

async function reconnect(make) {
  const r = make();
  const sub = make();
  const heard = [];
  sub.on('message', (_channel, message) => heard.push(message));
  await sub.subscribe('cart:back');
  await r.set('cart:before', 'x');
  await restart();
  // Calls wait for the connection; the new Redis is empty.
  same(await r.get('cart:before'), null);
  same(await r.set('cart:after', 'y'), 'OK');
  // The client subscribes again by itself.
  await eventually('a message', async () => {
    await r.publish('cart:back', 'again');
    return heard.length > 0;
  });
}

runAll(
  [
    strings, collections, pipeline, transaction, scan, scripts, blockingPop, pubSub, channelsOfOthers, shardedPubSub,
    refusals, largeValue, longPipeline, databases, namesAndIds, whoAmI, monitor, nativeTypes, reconnect,
  ],
  factory(proxied),
  factory(direct),
);
