# Read by the scripts that build a release. COMMIT and SOURCE_DATE_EPOCH name and date it. VERSION is the number in
# internal/release/VERSION, and a snapshot's if the commit has not the tag of that number.
COMMIT=$(git rev-parse HEAD)
[ -z "$(git status --porcelain --untracked-files=no)" ] || COMMIT=$COMMIT-dirty
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
VERSION=$(cat internal/release/VERSION)
[ "$(git tag --points-at HEAD --list "v$VERSION")" = "v$VERSION" ] || VERSION=$VERSION-snapshot.${COMMIT:0:12}
export COMMIT SOURCE_DATE_EPOCH VERSION
