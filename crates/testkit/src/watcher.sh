# Stops the cluster of the tests once no test process has renewed the lease for a minute.
# Arguments: the folder of the testkit, the data directory of the cluster, the seconds between two looks.
# Standard input: the locked watcher.lock, which says that this watcher lives.
trap '' HUP INT
cd "$1" || exit 1

fresh() { [ -n "$(find lease -mmin -1)" ]; }

while sleep "$3"; do
    fresh && continue
    : >closing
    # A process may have renewed the lease before it could see that file.
    if fresh; then
        rm -f closing
        continue
    fi
    pid=$(sed -n 1p "$2/postmaster.pid" 2>/dev/null)
    # Never signal another process that has the id of a dead server.
    if [ -d /proc/self ] && ! [ "/proc/$pid/cwd" -ef "$2" ]; then
        exit 0
    fi
    [ -n "$pid" ] && kill -INT "$pid"
    tries=0
    while [ -e "$2/postmaster.pid" ] && [ "$tries" -lt 60 ]; do
        sleep 1
        tries=$((tries + 1))
    done
    # `closing` stays: whoever comes next sees that no watcher holds the lock, and removes it.
    exit 0
done
