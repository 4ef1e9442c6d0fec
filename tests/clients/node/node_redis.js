// What applications do, with node-redis: PORT CERTIFICATES UPSTREAM redis|redis-4 default|2|3

'use strict';

const { address, check, eventually, library, NotHere, PATIENCE, port, refused, rest, restart, runAll, same, shared, tls } = require('./matrix.js');
const { commandOptions, createClient, defineScript, RESP_TYPES, WatchError } = require(library);

const OLD = library === 'redis-4';
const RESP = rest[0] === 'default' ? {} : { RESP: Number(rest[0]) };
// Its own limit for a command, 5 seconds of which most are its own, is too short for a long pipeline on a busy machine.
const LIMIT = OLD ? {} : { commandOptions: { timeout: PATIENCE } };
const RESP3 = !OLD && RESP.RESP !== 2;
const SCRIPTS = {
  double: defineScript({
    NUMBER_OF_KEYS: 1,
    SCRIPT: "return redis.call('incrby', KEYS[1], ARGV[1]) * 2",
    // 4 returns the arguments, later ones push them.
    parseCommand(parser, key, by) {
      parser.pushKey(key);
      parser.push(String(by));
    },
    transformArguments: (key, by) => [key, String(by)],
    transformReply: (reply) => reply,
  }),
};

function factory(place) {
  let made = [];
  const make = async (name = 'cart', more = {}) => {
    const client = createClient({ socket: place(name), scripts: SCRIPTS, ...RESP, ...LIMIT, ...more });
    client.on('error', (why) => (client.why = why));
    made.push(client);
    // It would try for ever.
    await Promise.race([client.connect(), eventually('', () => client.why).then(() => Promise.reject(client.why))]);
    return client;
  };
  make.close = async () => {
    for (const client of made) {
      client.removeAllListeners('error');
      client.on('error', () => {});
      try {
        await (OLD ? client.disconnect() : client.destroy());
      } catch {
        // It was never connected.
      }
    }
    made = [];
  };
  return make;
}

const proxied = (name) => ({ host: 'localhost', port, tls: true, ...tls(name) });
const direct = () => ({ ...address });

// Replies as bytes.
const bytes = (client) => (OLD ? { get: (key) => client.get(commandOptions({ returnBuffers: true }), key) } : client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }));

// === the checks ===

async function strings(make) {
  const r = await make();
  same(await r.ping(), 'PONG');
  same(await r.set('cart:s', 'value'), 'OK');
  same([await r.get('cart:s'), await r.get('cart:none')], ['value', null]);
  await r.del('cart:n');
  same([await r.incr('cart:n'), await r.incrBy('cart:n', 41)], [1, 42]);
  await r.mSet([['cart:m1', '1'], ['cart:m2', '2']]);
  same(await r.mGet(['cart:m1', 'cart:none', 'cart:m2']), ['1', null, '2']);
  same(await r.set('cart:ttl', 'x', { EX: 100 }), 'OK');
  check((await r.ttl('cart:ttl')) > 0);
  const key = Buffer.from([0x63, 0x61, 0x72, 0x74, 0x3a, 0, 255]);
  const binary = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.from('\r\n$-1\r\n*3\r\n')]);
  await r.set(key, binary);
  check(binary.equals(await bytes(r).get(key)));
}

async function collections(make) {
  const r = await make();
  await r.del(['cart:h', 'cart:l', 'cart:set', 'cart:z', 'cart:x']);
  same(await r.hSet('cart:h', { a: '1', b: 'zwei' }), 2);
  same(await r.hGetAll('cart:h'), { a: '1', b: 'zwei' });
  same(await r.rPush('cart:l', ['a', 'b', 'c']), 3);
  same(await r.lRange('cart:l', 0, -1), ['a', 'b', 'c']);
  same(await r.sAdd('cart:set', ['x', 'y']), 2);
  same([...(await r.sMembers('cart:set'))].sort(), ['x', 'y']);
  same(await r.zAdd('cart:z', [{ value: 'one', score: 1 }, { value: 'half', score: 0.5 }]), 2);
  same(await r.zRangeWithScores('cart:z', 0, -1), [{ value: 'half', score: 0.5 }, { value: 'one', score: 1 }]);
  same(await r.zScore('cart:z', 'half'), 0.5);
  const first = await r.xAdd('cart:x', '*', { field: 'value' });
  await r.xAdd('cart:x', '*', { field: 'more' });
  same(await r.xGroupCreate('cart:x', 'group', '0'), 'OK');
  const read = await r.xReadGroup('group', 'consumer', { key: 'cart:x', id: '>' }, { COUNT: 1 });
  check(JSON.stringify(read).includes(first), read);
  same(await r.xAck('cart:x', 'group', first), 1);
  same((await r.xRange('cart:x', '-', '+')).length, 2);
}

async function pipeline(make) {
  // What is called in one turn goes out together.
  const r = await make();
  const calls = [r.set('cart:p', '1'), r.get('other'), r.get('cart:p'), r.flushAll(), r.get('cart:p')];
  const answers = await Promise.allSettled(calls);
  same([0, 2, 4].map((i) => answers[i].value), ['OK', '1', '1']);
  check([1, 3].every((i) => /NOPERM/.test(answers[i].reason?.message)), answers);
}

async function transaction(make) {
  const r = await make();
  const other = await make();
  same(await r.multi().set('cart:t', '1').incr('cart:t').exec(), ['OK', 2]);
  await r.watch('cart:t');
  same(await r.get('cart:t'), '2');
  await other.incr('cart:t');
  let conflict;
  await r.multi().set('cart:t', '100').exec().catch((why) => (conflict = why));
  check(conflict instanceof WatchError, String(conflict));
  same(await r.get('cart:t'), '3');
  await refused(() => r.multi().incr('cart:t').get('other').exec(), /EXECABORT|NOPERM|commands failed/);
  same(await r.get('cart:t'), '3');
}

async function scan(make) {
  const r = await make();
  const all = Array.from({ length: 300 }, (_, i) => i);
  await Promise.all(all.flatMap((i) => [r.set(`cart:scan:${i}`, String(i)), r.hSet('cart:scanned', `f${i}`, i)]));
  const found = new Set();
  // 4 gives one key a turn, later ones a batch.
  for await (const keys of r.scanIterator({ MATCH: 'cart:scan:*', COUNT: 50 })) [keys].flat().forEach((key) => found.add(key));
  same(found.size, 300);
  const fields = new Set();
  for await (const entries of r.hScanIterator('cart:scanned')) [entries].flat().forEach((entry) => fields.add(entry.field));
  same(fields.size, 300);
}

async function scripts(make) {
  const r = await make();
  const admin = await make('admin');
  const answer = await r.eval('return {KEYS[1], ARGV[1], 3}', { keys: ['cart:k'], arguments: ['a'] });
  same(answer, ['cart:k', 'a', 3]);
  await r.del('cart:script');
  await admin.scriptFlush();
  same(await r.double('cart:script', 5), 10);
  await admin.scriptFlush();
  same(await r.double('cart:script', 5), 20);
  await refused(() => r.evalSha('0'.repeat(40), { keys: [], arguments: [] }), /NOSCRIPT/);
}

async function blocked(make) {
  const admin = await make('admin');
  await eventually('a client blocks', async () => /blocked_clients:1\r/.test(await admin.info('clients')));
}

async function blockingPop(make) {
  const r = await make();
  const other = await make();
  await r.del(['cart:queue', 'cart:stream']);
  let waiting = r.blPop('cart:queue', 20);
  await blocked(make);
  await other.rPush('cart:queue', 'job');
  same(await waiting, { key: 'cart:queue', element: 'job' });
  waiting = r.xRead({ key: 'cart:stream', id: '$' }, { BLOCK: 20_000 });
  await blocked(make);
  await other.xAdd('cart:stream', '*', { f: 'event' });
  check(JSON.stringify(await waiting).includes('event'));
}

async function pubSub(make) {
  const r = await make();
  const sub = await make();
  const heard = [];
  const hear = (message, channel) => heard.push([channel, message]);
  await sub.subscribe(['cart:news', 'cart:more'], hear);
  await sub.pSubscribe('cart:p*', hear);
  const expected = [];
  for (let i = 0; i < 50; i++) {
    same(await r.publish('cart:news', `message ${i}`), 1);
    same(await r.publish('cart:pattern', `pattern ${i}`), 1);
    expected.push(['cart:news', `message ${i}`], ['cart:pattern', `pattern ${i}`]);
  }
  await eventually('every message', () => heard.length === 100);
  same(heard, expected);
  await sub.unsubscribe('cart:news');
  same(await r.publish('cart:news', 'unheard'), 0);
  await sub.subscribe('cart:again', hear);
  // 4 takes the answer for a message of nobody, and waits for ever.
  if (!OLD) await sub.ping();
  // RESP3: the connection goes on taking commands.
  if (RESP3) same(await sub.set('cart:meanwhile', '1'), 'OK');
  // By name: without one 4 waits for ever, in front of a plain Redis too.
  await sub.unsubscribe(['cart:more', 'cart:again']);
  await sub.pUnsubscribe('cart:p*');
  // In RESP2 the library gives bytes here.
  same(String(await sub.set('cart:after', '1')), 'OK');
}

async function channelsOfOthers(make) {
  const r = await make();
  await refused(() => r.publish('other', 'x'), /NOPERM.*channel/);
  const sub = await make();
  await refused(() => sub.subscribe('other', () => {}), /NOPERM.*channel/);
  const heard = [];
  await sub.subscribe('cart:mine', (message) => heard.push(message));
  await r.publish('cart:mine', 'm');
  await eventually('the message', () => heard.length === 1);
}

async function shardedPubSub(make) {
  const r = await make();
  const sub = await make();
  const heard = [];
  same(await r.sPublish('cart:shard', 'nobody'), 0);
  await sub.sSubscribe('cart:shard', (message, channel) => heard.push([channel, message]));
  same(await r.sPublish('cart:shard', 'm'), 1);
  await eventually('the message', () => heard.length === 1);
  same(heard, [['cart:shard', 'm']]);
  await sub.sUnsubscribe('cart:shard');
}

async function refusals(make) {
  const r = await make();
  await refused(() => r.flushAll(), /NOPERM.*flushall/);
  await refused(() => r.get('other'), /NOPERM.*key/);
  await refused(() => r.configGet('*'), /NOPERM.*config\|get/);
  same(await r.ping(), 'PONG');
}

async function largeValue(make) {
  const r = await make();
  const value = Buffer.alloc(20 << 20, 'respgate');
  await r.set('cart:large', value);
  check(value.equals(await bytes(r).get('cart:large')));
  await r.del('cart:large');
}

async function longPipeline(make) {
  const r = await make();
  const calls = [];
  for (let i = 0; i < 5000; i++) calls.push(r.set(`cart:long:${i % 100}`, String(i)), r.get(`cart:long:${i % 100}`));
  const answers = await Promise.all(calls);
  check(answers.every((answer, i) => answer === (i % 2 ? String((i - 1) / 2) : 'OK')));
}

async function databases(make) {
  const one = await make('cart', { database: 3 });
  const other = await make('cart', { database: 4 });
  await one.set('cart:db', 'three');
  same([await one.get('cart:db'), await other.get('cart:db')], ['three', null]);
  await other.select(3);
  same(await other.get('cart:db'), 'three');
}

async function namesAndIds(make) {
  const r = await make('cart', { name: 'shop' });
  const admin = await make('admin');
  same(await r.clientGetName(), 'shop');
  const number = await r.clientId();
  const mine = (await admin.clientList()).filter((one) => one.name === 'shop');
  if (shared) {
    // The Redis has no such client.
    same([mine, await admin.clientKill({ filter: 'ID', id: number })], [[], 0]);
    return;
  }
  same(mine.map((one) => one.id), [number]);
  same(await admin.clientKill({ filter: 'ID', id: number }), 1);
  // The client comes back by itself, under its name; what was on its way may be lost.
  await eventually('another connection', async () => (await r.clientId().catch(() => number)) !== number);
  same(await r.clientGetName(), 'shop');
}

async function whoAmI(make) {
  const r = await make();
  same(await r.aclWhoAmI(), 'cart');
  await refused(() => r.aclList(), /NOPERM.*acl\|list/);
}

async function monitor(make) {
  const r = await make();
  const admin = await make('admin');
  const seen = [];
  // 4 has no such call.
  if (!admin.monitor) throw new NotHere();
  await admin.monitor((line) => seen.push(String(line)));
  await r.set('cart:watched', 'm');
  await eventually('its line', () => seen.some((line) => line.includes('"SET" "cart:watched"')));
}

async function nativeTypes(make) {
  if (!RESP3) throw new NotHere();
  const r = await make();
  await r.del(['cart:set3', 'cart:z3', 'cart:h3']);
  await r.sAdd('cart:set3', 'a');
  await r.zAdd('cart:z3', { value: 'm', score: 1.5 });
  await r.hSet('cart:h3', 'f', 'v');
  const typed = r.withTypeMapping({ [RESP_TYPES.MAP]: Map, [RESP_TYPES.SET]: Set, [RESP_TYPES.DOUBLE]: Number });
  const members = await typed.sMembers('cart:set3');
  check(members instanceof Set && members.has('a'), members);
  const map = await typed.hGetAll('cart:h3');
  check(map instanceof Map && map.get('f') === 'v', map);
  same(await typed.sendCommand(['ZSCORE', 'cart:z3', 'm']), 1.5);
}

async function clientSideCache(make) {
  if (!RESP3) throw new NotHere();
  const { BasicClientSideCache } = require(library);
  const cache = new BasicClientSideCache();
  const r = await make('cart', { RESP: 3, clientSideCache: cache });
  const other = await make();
  await other.set('cart:cached', 'old');
  same([await r.get('cart:cached'), await r.get('cart:cached')], ['old', 'old']);
  check(cache.stats().hitCount === 1, cache.stats());
  await other.set('cart:cached', 'new');
  await eventually('the new value', async () => (await r.get('cart:cached')) === 'new');
}

async function reconnect(make) {
  const r = await make();
  const sub = await make();
  const heard = [];
  await sub.subscribe('cart:back', (message) => heard.push(message));
  await r.set('cart:before', 'x');
  await restart();
  // The new Redis is empty; what was on its way may be lost.
  await eventually('an answer', async () => (await r.get('cart:before').catch(() => 'none')) === null);
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
    refusals, largeValue, longPipeline, databases, namesAndIds, whoAmI, monitor, nativeTypes, clientSideCache, reconnect,
  ],
  factory(proxied),
  factory(direct),
);
