# What the studies in this folder share; they source it. Each has a comment at its top that is its usage.

# study_begin NAME "$@": reads the options, cuts the texts to size, goes to the folder of the results. Afterwards:
#
#   model, texts   the model, and the texts as files below text/
#   E, K           experts of a layer, and how many of them a token chooses
study_begin()
{
	local name=$1 here bytes=6000 out='' opt file given=()
	shift
	here=$(cd "$(dirname "$0")/.." && pwd)
	[ -z "${BIN-}" ] || PATH=$(cd "$BIN" && pwd):$PATH
	command -v moe-run >/dev/null || {
		echo "$name: moe-run is not in PATH: expected the programs there, or BIN=FOLDER that has them" >&2
		exit 1
	}
	export MOE_SHARE=${MOE_SHARE:-$here}
	model=tiny-v3
	while getopts hm:n:o: opt; do
		case $opt in
		h)
			study_usage
			exit 0
			;;
		m) model=$OPTARG ;;
		n) bytes=$OPTARG ;;
		o) out=$OPTARG ;;
		*)
			study_usage >&2
			exit 2
			;;
		esac
	done
	shift $((OPTIND - 1))
	[[ $bytes =~ ^[1-9][0-9]*$ ]] || {
		echo "$name: -n $bytes: expected a number of bytes" >&2
		exit 2
	}
	given=("$@")
	[ $# -gt 0 ] || given=("$here"/text/*.txt)
	# A model that is a path is one from here, not from the folder of the results.
	[ ! -e "$model" ] || model=$(realpath "$model")
	out=${out:-moe-$name}
	mkdir -p "$out/text"
	texts=()
	for file in "${given[@]}"; do
		[ -r "$file" ] || {
			echo "$name: $file: cannot be read" >&2
			exit 1
		}
		# Its name is the domain.
		[[ " ${texts[*]} " != *" text/$(basename "$file") "* ]] || {
			echo "$name: $file: expected texts of different names, found a second $(basename "$file")" >&2
			exit 1
		}
		# A character that is cut in two is left out, of which iconv complains.
		head -c "$bytes" "$file" | { iconv -c -f UTF-8 -t UTF-8 2>/dev/null || :; } \
			>"$out/text/$(basename "$file")"
		texts+=("text/$(basename "$file")")
	done
	cd "$out" || exit 1
	read -r E K < <(moe-convert --info --json "$model" |
		sed -n 's/.*"experts":\([0-9]*\),"experts_per_token":\([0-9]*\).*/\1 \2/p')
	[ "${E:-0}" -gt 0 ] || {
		echo "$name: $model: expected a model with experts" >&2
		exit 1
	}
}

# The comment at the top of the script.
study_usage()
{
	sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# Perplexity of all texts together; arguments are options of moe-run.
perplexity()
{
	moe-run -q --score "$@" "$model" "${texts[@]}" |
		awk -F '\t' '$1 == "source" { for (i = 1; i <= NF; i++) at[$i] = i } $1 == "total" { print $at["ppl"] }'
}

# study_end TABLE PICTURE...: shows the table, tells where everything is.
study_end()
{
	local file
	cat "$1"
	for file in "$@"; do
		echo "$PWD/$file"
	done >&2
}
