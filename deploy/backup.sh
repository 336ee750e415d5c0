#!/bin/sh
# Copy run history and data root into a new folder below the one given. Safe while runs go on: a version of an output is
# never changed once it stands, and which one is in use is copied last. The key is left out: keep that elsewhere.
set -eu
target="${1:?usage: backup.sh FOLDER}/$(date -u +%Y%m%dT%H%M%SZ)"
mkdir -p "$target.part"
if [ -n "${FUSC_PG_URL:-}" ]; then
    pg_dump --format=custom --file="$target.part/history.dump" "$(echo "$FUSC_PG_URL" | sed 's/+psycopg2//')"
else
    # SQLite's own copy: one made by cp of a database in use may be torn.
    find "$DAGSTER_HOME" -name '*.db' | while read -r file; do
        copy="$target.part/history/${file#"$DAGSTER_HOME"/}"
        mkdir -p "$(dirname "$copy")"
        python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))' "$file" "$copy"
    done
fi
cp "$DAGSTER_HOME/dagster.yaml" "$target.part/"
# Without what a killed run would continue from, and without what is being written.
(cd "$FUSC_DATA" && find . -type f ! -path './work/*' ! -path './locks/*' ! -path '*/.*tmp*' ! -name current \
    ! -name hmac.key -print0 | tar --null --files-from=- --ignore-failed-read -cf "$target.part/data.tar")
(cd "$FUSC_DATA" && find . -name current -type f -print0 | tar --null --files-from=- -rf "$target.part/data.tar")
mv "$target.part" "$target"
echo "$target"
