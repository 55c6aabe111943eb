#!/bin/sh
# Makes the namespace, or gives the one that is there the wanted retention. Ends when it can be used. Safe to repeat.
set -eu

# Try a command again until it succeeds, for a minute at most.
persist() {
    tries=0
    until said=$("$@" 2>&1); do
        tries=$((tries + 1))
        if [ "$tries" -ge 60 ]; then
            echo "$said" >&2
            exit 1
        fi
        sleep 1
    done
    echo "$said"
}

persist temporal operator cluster health
if temporal operator namespace describe --namespace "$NAMESPACE" >/dev/null 2>&1; then
    # Not every part of the server knows at once of a namespace that was just made.
    persist temporal operator namespace update --namespace "$NAMESPACE" --retention "$RETENTION"
else
    temporal operator namespace create --namespace "$NAMESPACE" --retention "$RETENTION"
fi
persist temporal workflow count --namespace "$NAMESPACE"
