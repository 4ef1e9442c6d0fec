//! What real servers answered. Each value is a word: `$` a text, without its length, `:` an integer,
//! `*` and `%` the count of an array or a map, `null` is `$-1`, `nil` is `*-1`. A text with blanks
//! stands alone.

/// SENTINEL GET-MASTER-ADDR-BY-NAME, 7.0.15.
pub(super) const MASTER_ADDRESS: &str = "\
    *2 $127.0.0.1 $27000";

/// SENTINEL MASTERS, 7.0.15, RESP2.
pub(super) const MASTERS: &str = "\
    *1 *40 $name $mymaster $ip $127.0.0.1 $port $27000 $runid $9cdc6d8060e1dae27aa25476014e00a7a8a8cd2b \
    $flags $master $link-pending-commands $0 $link-refcount $1 $last-ping-sent $0 $last-ok-ping-reply \
    $853 $last-ping-reply $853 $down-after-milliseconds $1000 $info-refresh $3969 $role-reported $master \
    $role-reported-time $3987 $config-epoch $0 $num-slaves $2 $num-other-sentinels $2 $quorum $2 \
    $failover-timeout $3000 $parallel-syncs $1";

/// SENTINEL MASTER, 8.2.3, RESP3.
pub(super) const MASTER_3: &str = "\
    %20 $name $mymaster $ip $127.0.0.1 $port $27100 $runid $9971baa939adca358eb8b51839afd04dba9aa19f \
    $flags $master $link-pending-commands $0 $link-refcount $1 $last-ping-sent $0 $last-ok-ping-reply \
    $874 $last-ping-reply $874 $down-after-milliseconds $1000 $info-refresh $3996 $role-reported $master \
    $role-reported-time $4035 $config-epoch $0 $num-slaves $2 $num-other-sentinels $2 $quorum $2 \
    $failover-timeout $3000 $parallel-syncs $1";

/// SENTINEL REPLICAS, 7.0.15, RESP2.
pub(super) const REPLICAS: &str = "\
    *2 *42 $name $127.0.0.1:27002 $ip $127.0.0.1 $port $27002 $runid \
    $29b03ec8e7373c8eb43323d03f1344d2f2a3d148 $flags $slave $link-pending-commands $0 $link-refcount $1 \
    $last-ping-sent $0 $last-ok-ping-reply $800 $last-ping-reply $800 $down-after-milliseconds $1000 \
    $info-refresh $800 $role-reported $slave $role-reported-time $3970 $master-link-down-time $-1000 \
    $master-link-status $err $master-host $127.0.0.1 $master-port $27000 $slave-priority $100 \
    $slave-repl-offset $1 $replica-announced $1 *42 $name $127.0.0.1:27001 $ip $127.0.0.1 $port $27001 \
    $runid $e67bf163e4a4741cbe20d161ad13f0e9b8c382a7 $flags $slave $link-pending-commands $0 \
    $link-refcount $1 $last-ping-sent $0 $last-ok-ping-reply $800 $last-ping-reply $800 \
    $down-after-milliseconds $1000 $info-refresh $800 $role-reported $slave $role-reported-time $3971 \
    $master-link-down-time $-1000 $master-link-status $err $master-host $127.0.0.1 $master-port $27000 \
    $slave-priority $100 $slave-repl-offset $1 $replica-announced $1";

/// SENTINEL REPLICAS, 8.2.3, RESP3.
pub(super) const REPLICAS_3: &str = "\
    *2 %21 $name $127.0.0.1:27101 $ip $127.0.0.1 $port $27101 $runid \
    $f301cd1b7e7610f00ee6571ce49d38470198bf02 $flags $slave $link-pending-commands $0 $link-refcount $1 \
    $last-ping-sent $0 $last-ok-ping-reply $824 $last-ping-reply $824 $down-after-milliseconds $1000 \
    $info-refresh $824 $role-reported $slave $role-reported-time $3999 $master-link-down-time $0 \
    $master-link-status $ok $master-host $127.0.0.1 $master-port $27100 $slave-priority $100 \
    $slave-repl-offset $425 $replica-announced $1 %21 $name $127.0.0.1:27102 $ip $127.0.0.1 $port $27102 \
    $runid $00d7874a69788b79dff06566a6059ed85aa9ac32 $flags $slave $link-pending-commands $0 \
    $link-refcount $1 $last-ping-sent $0 $last-ok-ping-reply $824 $last-ping-reply $824 \
    $down-after-milliseconds $1000 $info-refresh $824 $role-reported $slave $role-reported-time $4008 \
    $master-link-down-time $0 $master-link-status $ok $master-host $127.0.0.1 $master-port $27100 \
    $slave-priority $100 $slave-repl-offset $425 $replica-announced $1";

/// SENTINEL SENTINELS, 7.0.15, RESP3.
pub(super) const SENTINELS_3: &str = "\
    *2 %14 $name $ae1b07be53838a387214cb9cf56b862b88f67864 $ip $127.0.0.1 $port $27011 $runid \
    $ae1b07be53838a387214cb9cf56b862b88f67864 $flags $sentinel $link-pending-commands $0 $link-refcount \
    $1 $last-ping-sent $0 $last-ok-ping-reply $856 $last-ping-reply $856 $down-after-milliseconds $1000 \
    $last-hello-message $1925 $voted-leader $? $voted-leader-epoch $0 %14 $name \
    $2133b473698897cd0baca553478ae2e5bf601257 $ip $127.0.0.1 $port $27012 $runid \
    $2133b473698897cd0baca553478ae2e5bf601257 $flags $sentinel $link-pending-commands $0 $link-refcount \
    $1 $last-ping-sent $0 $last-ok-ping-reply $856 $last-ping-reply $856 $down-after-milliseconds $1000 \
    $last-hello-message $1964 $voted-leader $? $voted-leader-epoch $0";

/// ROLE of a Sentinel, 7.0.15.
pub(super) const ROLE_SENTINEL: &str = "\
    *2 $sentinel *1 $mymaster";

/// ROLE of a master, 7.0.15.
pub(super) const ROLE_MASTER: &str = "\
    *3 $master :425 *2 *3 $127.0.0.1 $27001 $425 *3 $127.0.0.1 $27002 $425";

/// ROLE of a replica, 7.0.15.
pub(super) const ROLE_REPLICA: &str = "\
    *5 $slave $127.0.0.1 :27000 $connected :425";

/// CLUSTER SLOTS, 5.0.6.
pub(super) const SLOTS_5: &str = "\
    *3 *4 :5461 :10922 *3 $127.0.0.1 :27601 $3ed00de28c2d94b44a6465959572e9a96caa464a *3 $127.0.0.1 \
    :27604 $054ffceaa5a5082ba75f6736e8f34af8047f7f08 *4 :0 :5460 *3 $127.0.0.1 :27600 \
    $1e4cac9a76da938d0e2269ef44fba7bff8045e28 *3 $127.0.0.1 :27603 \
    $02b9cf6592fded79125cc5a0c650c7a3d776d1eb *4 :10923 :16383 *3 $127.0.0.1 :27602 \
    $d1ed7aa4b9c53ae3c384976f196e0e1e185a38af *3 $127.0.0.1 :27605 \
    $4c475acadd945b66c17f5a18304a8c8889fe0a7d";

/// CLUSTER SLOTS, 7.0.15.
pub(super) const SLOTS_IP: &str = "\
    *3 *3 :0 :5460 *4 $127.0.0.1 :27200 $2f7e9f8f4d492ebe5392db21175e33559e4514ef *0 *3 :5461 :10922 *4 \
    $127.0.0.1 :27201 $8b63c9cb1e2712a10eae776ea34f9d066abed6bc *0 *3 :10923 :16383 *4 $127.0.0.1 :27202 \
    $cc6491ed4c7486098cb1ef62112f4b019fd169b7 *0";

/// CLUSTER SLOTS, 8.2.3, `cluster-preferred-endpoint-type hostname`.
pub(super) const SLOTS_NAME: &str = "\
    *3 *3 :0 :5460 *4 $node.example.com :27400 $fe63ad74a5b3ad04ebc975e7dd88f4f86bc53bf7 *2 $ip \
    $127.0.0.1 *3 :5461 :10922 *4 $node.example.com :27401 $8df8cce0e36d6fbfc49193aadc9aeb7a51c60f28 *2 \
    $ip $127.0.0.1 *3 :10923 :16383 *4 $node.example.com :27402 \
    $7f70f1e6400ef1746006a17790aa9c5e31857981 *2 $ip $127.0.0.1";

/// The same of 7.0.15, RESP3.
pub(super) const SLOTS_NAME_3: &str = "\
    *3 *3 :0 :5460 *4 $node.example.com :27300 $8de195cdb5c149247ee6bcb8988e0594e0dcff22 %1 $ip \
    $127.0.0.1 *3 :5461 :10922 *4 $node.example.com :27301 $6362fdaabf905b4bbb90ccab1bb87175a0725af6 %1 \
    $ip $127.0.0.1 *3 :10923 :16383 *4 $node.example.com :27302 \
    $a1cf79775d73122cc33cc2d21efcc2b9be6fe124 %1 $ip $127.0.0.1";

/// CLUSTER SLOTS, 8.2.3, `cluster-preferred-endpoint-type unknown-endpoint`.
pub(super) const SLOTS_UNKNOWN: &str = "\
    *3 *3 :0 :5460 *4 null :27500 $ce50e6daf59f2f96e28f11d0eec6b8a2c63fc25a *4 $ip $127.0.0.1 $hostname \
    $node.example.com *3 :5461 :10922 *4 null :27501 $72cc7e1a9c792abe0522e707467771d5bb5ac806 *4 $ip \
    $127.0.0.1 $hostname $node.example.com *3 :10923 :16383 *4 null :27502 \
    $faec9361efd172cc8e5d5bd98e2bb823c849c717 *4 $ip $127.0.0.1 $hostname $node.example.com";

/// The same, RESP3.
pub(super) const SLOTS_UNKNOWN_3: &str = "\
    *3 *3 :0 :5460 *4 _ :27500 $ce50e6daf59f2f96e28f11d0eec6b8a2c63fc25a %2 $ip $127.0.0.1 $hostname \
    $node.example.com *3 :5461 :10922 *4 _ :27501 $72cc7e1a9c792abe0522e707467771d5bb5ac806 %2 $ip \
    $127.0.0.1 $hostname $node.example.com *3 :10923 :16383 *4 _ :27502 \
    $faec9361efd172cc8e5d5bd98e2bb823c849c717 %2 $ip $127.0.0.1 $hostname $node.example.com";

/// CLUSTER SLOTS, 8.2.3: `hostname` is preferred, and no node has one.
pub(super) const SLOTS_NAMELESS: &str = "\
    *3 *3 :0 :5460 *4 $? :27700 $d0a877639c8df1b5da57e8e53e6015a69b44c8e7 *2 $ip $127.0.0.1 *3 :5461 \
    :10922 *4 $? :27701 $1c7efdb91ccec05d12f88b40c1d7172a4a77603d *2 $ip $127.0.0.1 *3 :10923 :16383 *4 \
    $? :27702 $9895a9a7630551d5f37db2260b9e4b79ebc881b1 *2 $ip $127.0.0.1";

/// CLUSTER SHARDS, 8.2.3, RESP2.
pub(super) const SHARDS: &str = "\
    *3 *4 $slots *2 :5461 :10922 $nodes *2 *14 $id $bd6f05970ea41994ce1b900487c1121af35452f7 $port \
    :27801 $ip $127.0.0.1 $endpoint $127.0.0.1 $role $master $replication-offset :0 $health $online *14 \
    $id $b2a583c680d0f87bdf1cb2cea512f66d0cc238bf $port :27804 $ip $127.0.0.1 $endpoint $127.0.0.1 $role \
    $replica $replication-offset :0 $health $loading *4 $slots *2 :0 :5460 $nodes *2 *14 $id \
    $05213964cfa1e31f17ef9b7c6ac9298fba0f1264 $port :27800 $ip $127.0.0.1 $endpoint $127.0.0.1 $role \
    $master $replication-offset :0 $health $online *14 $id $737f62c4abe38a2672f80aa9ced690b21899121d \
    $port :27803 $ip $127.0.0.1 $endpoint $127.0.0.1 $role $replica $replication-offset :0 $health \
    $loading *4 $slots *2 :10923 :16383 $nodes *2 *14 $id $2df6d768823434ba74b0ccd711ed3abd3002f4c4 \
    $port :27802 $ip $127.0.0.1 $endpoint $127.0.0.1 $role $master $replication-offset :0 $health \
    $online *14 $id $cd9d34878c5471f15bec7ca3fb66fc7b1b3b48bf $port :27805 $ip $127.0.0.1 $endpoint \
    $127.0.0.1 $role $replica $replication-offset :0 $health $loading";

/// CLUSTER SHARDS, 7.0.15, RESP3, `hostname`.
pub(super) const SHARDS_NAME_3: &str = "\
    *3 %2 $slots *2 :5461 :10922 $nodes *2 %8 $id $6362fdaabf905b4bbb90ccab1bb87175a0725af6 $port :27301 \
    $ip $127.0.0.1 $endpoint $node.example.com $hostname $node.example.com $role $master \
    $replication-offset :0 $health $online %8 $id $96a37a08542c81aa8e9840043e00f298f0a7ff05 $port :27304 \
    $ip $127.0.0.1 $endpoint $node.example.com $hostname $node.example.com $role $replica \
    $replication-offset :0 $health $loading %2 $slots *2 :10923 :16383 $nodes *2 %8 $id \
    $a1cf79775d73122cc33cc2d21efcc2b9be6fe124 $port :27302 $ip $127.0.0.1 $endpoint $node.example.com \
    $hostname $node.example.com $role $master $replication-offset :0 $health $online %8 $id \
    $392442533aa933e91153bdb8eadef54b79b7808c $port :27305 $ip $127.0.0.1 $endpoint $node.example.com \
    $hostname $node.example.com $role $replica $replication-offset :0 $health $loading %2 $slots *2 :0 \
    :5460 $nodes *2 %8 $id $8de195cdb5c149247ee6bcb8988e0594e0dcff22 $port :27300 $ip $127.0.0.1 \
    $endpoint $node.example.com $hostname $node.example.com $role $master $replication-offset :0 $health \
    $online %8 $id $75d47e1763bfd123ae243a7c1ffda496ff6f4904 $port :27303 $ip $127.0.0.1 $endpoint \
    $node.example.com $hostname $node.example.com $role $replica $replication-offset :0 $health $loading";

/// CLUSTER SHARDS, 8.2.3, RESP2, `unknown-endpoint`.
pub(super) const SHARDS_UNKNOWN: &str = "\
    *3 *4 $slots *2 :5461 :10922 $nodes *2 *16 $id $72cc7e1a9c792abe0522e707467771d5bb5ac806 $port \
    :27501 $ip $127.0.0.1 $endpoint $ $hostname $node.example.com $role $master $replication-offset :0 \
    $health $online *16 $id $5f934b3f3742e2007026ba31765934c663e77531 $port :27504 $ip $127.0.0.1 \
    $endpoint $ $hostname $node.example.com $role $replica $replication-offset :0 $health $loading *4 \
    $slots *2 :0 :5460 $nodes *2 *16 $id $ce50e6daf59f2f96e28f11d0eec6b8a2c63fc25a $port :27500 $ip \
    $127.0.0.1 $endpoint $ $hostname $node.example.com $role $master $replication-offset :0 $health \
    $online *16 $id $be727b1c63ca56e6870d2dd8af01d235370987f4 $port :27503 $ip $127.0.0.1 $endpoint $ \
    $hostname $node.example.com $role $replica $replication-offset :0 $health $loading *4 $slots *2 \
    :10923 :16383 $nodes *2 *16 $id $faec9361efd172cc8e5d5bd98e2bb823c849c717 $port :27502 $ip \
    $127.0.0.1 $endpoint $ $hostname $node.example.com $role $master $replication-offset :0 $health \
    $online *16 $id $d2875675d5804ba79613c7e9908b30d1a8e90e72 $port :27505 $ip $127.0.0.1 $endpoint $ \
    $hostname $node.example.com $role $replica $replication-offset :0 $health $loading";

/// CLUSTER SHARDS, 7.0.15, of a node that has TLS itself and knows no address of its own.
pub(super) const SHARDS_TLS: &str = "\
    *1 *4 $slots *2 :0 :8000 $nodes *1 *16 $id $69848cfa4d4f487192cbf279b3c05d8354501d14 $port :29200 \
    $tls-port :29250 $ip $ $endpoint $ $role $master $replication-offset :0 $health $online";

/// CLUSTER LINKS, 7.0.15.
pub(super) const LINKS: &str = "\
    *10 *12 $direction $to $node $cc6491ed4c7486098cb1ef62112f4b019fd169b7 $create-time :1795263862590 \
    $events $r $send-buffer-allocated :0 $send-buffer-used :0 *12 $direction $from $node \
    $cc6491ed4c7486098cb1ef62112f4b019fd169b7 $create-time :1795263862490 $events $r \
    $send-buffer-allocated :0 $send-buffer-used :0 *12 $direction $to $node \
    $8b63c9cb1e2712a10eae776ea34f9d066abed6bc $create-time :1795263862488 $events $r \
    $send-buffer-allocated :0 $send-buffer-used :0 *12 $direction $from $node \
    $8b63c9cb1e2712a10eae776ea34f9d066abed6bc $create-time :1795263862483 $events $r \
    $send-buffer-allocated :0 $send-buffer-used :0 *12 $direction $to $node \
    $be9a176072f8a5e65a16497ffd7b50eebb393051 $create-time :1795263862488 $events $r \
    $send-buffer-allocated :0 $send-buffer-used :0 *12 $direction $from $node \
    $be9a176072f8a5e65a16497ffd7b50eebb393051 $create-time :1795263862488 $events $r \
    $send-buffer-allocated :0 $send-buffer-used :0 *12 $direction $to $node \
    $f81c914e2db8c02501ec74dd3012cc4dc6a935c4 $create-time :1795263862488 $events $r \
    $send-buffer-allocated :6138 $send-buffer-used :0 *12 $direction $from $node \
    $f81c914e2db8c02501ec74dd3012cc4dc6a935c4 $create-time :1795263862484 $events $r \
    $send-buffer-allocated :0 $send-buffer-used :0 *12 $direction $to $node \
    $7e474a1cfc13c777f32bee8f82fd65f2ca8b40e7 $create-time :1795263862488 $events $r \
    $send-buffer-allocated :0 $send-buffer-used :0 *12 $direction $from $node \
    $7e474a1cfc13c777f32bee8f82fd65f2ca8b40e7 $create-time :1795263862488 $events $r \
    $send-buffer-allocated :0 $send-buffer-used :0";

/// INFO replication of a master, 7.0.15.
pub(super) const INFO_MASTER: &str = "\
# Replication\r\n\
role:master\r\n\
connected_slaves:2\r\n\
slave0:ip=127.0.0.1,port=27001,state=online,offset=425,lag=1\r\n\
slave1:ip=127.0.0.1,port=27002,state=online,offset=425,lag=1\r\n\
master_failover_state:no-failover\r\n\
master_replid:45cd6195ea8fa1f36ccfff03c8b572401304b44f\r\n\
master_replid2:0000000000000000000000000000000000000000\r\n\
master_repl_offset:425\r\n\
second_repl_offset:-1\r\n\
repl_backlog_active:1\r\n\
repl_backlog_size:1048576\r\n\
repl_backlog_first_byte_offset:1\r\n\
repl_backlog_histlen:425\r\n";

/// INFO replication of a replica, 8.2.3.
pub(super) const INFO_REPLICA: &str = "\
# Replication\r\n\
role:slave\r\n\
master_host:127.0.0.1\r\n\
master_port:27100\r\n\
master_link_status:up\r\n\
master_last_io_seconds_ago:0\r\n\
master_sync_in_progress:0\r\n\
slave_read_repl_offset:582\r\n\
slave_repl_offset:582\r\n\
replica_full_sync_buffer_size:0\r\n\
replica_full_sync_buffer_peak:0\r\n\
master_current_sync_attempts:1\r\n\
master_total_sync_attempts:1\r\n\
master_link_up_since_seconds:1\r\n\
total_disconnect_time_sec:0\r\n\
slave_priority:100\r\n\
slave_read_only:1\r\n\
replica_announced:1\r\n\
connected_slaves:0\r\n\
master_failover_state:no-failover\r\n\
master_replid:3c563cdcaee7bfed67848af86c10d2333cd24856\r\n\
master_replid2:0000000000000000000000000000000000000000\r\n\
master_repl_offset:582\r\n\
second_repl_offset:-1\r\n\
repl_backlog_active:1\r\n\
repl_backlog_size:1048576\r\n\
repl_backlog_first_byte_offset:426\r\n\
repl_backlog_histlen:157\r\n";

/// INFO sentinel, 8.2.3.
pub(super) const INFO_SENTINEL: &str = "\
# Sentinel\r\n\
sentinel_masters:1\r\n\
sentinel_tilt:0\r\n\
sentinel_tilt_since_seconds:-1\r\n\
sentinel_total_tilt:0\r\n\
sentinel_running_scripts:0\r\n\
sentinel_scripts_queue_length:0\r\n\
sentinel_simulate_failure_flags:0\r\n\
master0:name=mymaster,status=ok,address=127.0.0.1:28800,slaves=0,sentinels=1\r\n";

/// CLUSTER NODES, 5.0.6.
pub(super) const NODES_5: &str = "\
3ed00de28c2d94b44a6465959572e9a96caa464a 127.0.0.1:27601@37601 master - 0 1795263879640 2 connected 5461-10922\n\
1e4cac9a76da938d0e2269ef44fba7bff8045e28 127.0.0.1:27600@37600 myself,master - 0 1795263879000 1 connected 0-5460\n\
4c475acadd945b66c17f5a18304a8c8889fe0a7d 127.0.0.1:27605@37605 slave d1ed7aa4b9c53ae3c384976f196e0e1e185a38af 0 1795263879239 6 connected\n\
d1ed7aa4b9c53ae3c384976f196e0e1e185a38af 127.0.0.1:27602@37602 master - 0 1795263880041 3 connected 10923-16383\n\
02b9cf6592fded79125cc5a0c650c7a3d776d1eb 127.0.0.1:27603@37603 slave 1e4cac9a76da938d0e2269ef44fba7bff8045e28 0 1795263879640 4 connected\n\
054ffceaa5a5082ba75f6736e8f34af8047f7f08 127.0.0.1:27604@37604 slave 3ed00de28c2d94b44a6465959572e9a96caa464a 0 1795263879640 5 connected\n";

/// CLUSTER NODES, 8.2.3, with host names.
pub(super) const NODES_NAME: &str = "\
fe63ad74a5b3ad04ebc975e7dd88f4f86bc53bf7 127.0.0.1:27400@37400,node.example.com myself,master - 0 0 1 connected 0-5460\n\
8df8cce0e36d6fbfc49193aadc9aeb7a51c60f28 127.0.0.1:27401@37401,node.example.com master - 0 1795263873031 2 connected 5461-10922\n\
21cb8646264dbdc645aec14bc6dc94fa8c5d1ef3 127.0.0.1:27404@37404,node.example.com slave 8df8cce0e36d6fbfc49193aadc9aeb7a51c60f28 0 1795263873000 2 connected\n\
c7fb42515e58d3bfa88f1a94fbb99c86f2ef4b88 127.0.0.1:27405@37405,node.example.com slave 7f70f1e6400ef1746006a17790aa9c5e31857981 0 1795263873031 3 connected\n\
7f70f1e6400ef1746006a17790aa9c5e31857981 127.0.0.1:27402@37402,node.example.com master - 0 1795263872830 3 connected 10923-16383\n\
c252b1c9fb54fb6c4c2035543e9bc9186ac88f16 127.0.0.1:27403@37403,node.example.com slave fe63ad74a5b3ad04ebc975e7dd88f4f86bc53bf7 0 1795263873000 1 connected\n";

/// CLUSTER NODES, 7.0.15, of a node that knows no address of its own.
pub(super) const NODES_OWN: &str = "\
69848cfa4d4f487192cbf279b3c05d8354501d14 :29200@39250 myself,master - 0 0 1 connected 0-8000\n";

/// The one line of CLUSTER REPLICAS, 8.2.3.
pub(super) const REPLICA_NODE: &str = "\
c252b1c9fb54fb6c4c2035543e9bc9186ac88f16 127.0.0.1:27403@37403,node.example.com slave fe63ad74a5b3ad04ebc975e7dd88f4f86bc53bf7 0 1795263873000 1 connected\n";
