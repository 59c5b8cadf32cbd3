# bash completion of moe-tools; written by `make completions`.
# shellcheck shell=bash
_moe_ask()
{
	local head=${2%"${2##*[,=]}"} word
	while IFS= read -r word; do
		[[ $head$word != "$2"* ]] || COMPREPLY+=("$head$word")
	done < <("${COMP_WORDS[0]/#\~/$HOME}" --complete-words "$1" 2>/dev/null)
}
_moe()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} tool=${COMP_WORDS[0]##*/} options=
	if [ "$cur" = "=" ]; then
		cur=
	elif [ "$prev" = "=" ] && [ "$COMP_CWORD" -ge 2 ]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	COMPREPLY=()
	case $tool:$prev in
	moe-convert:--tolerance | \
		moe-convert:--only | \
		moe-convert:--fits | \
		moe-convert:--ctx | \
		moe-convert:--ranks | \
		moe-convert:--imatrix-tokens | \
		moe-convert:--shard-size | \
		moe-convert:--model-parallel | \
		moe-convert:--segment | \
		moe-convert:--upcycle | \
		moe-convert:--upcycle-top-k | \
		moe-convert:--upcycle-noise | \
		moe-convert:--threads | moe-convert:-j | \
		moe-convert:--seed | \
		moe-route:--prompt | moe-route:-p | \
		moe-route:--window | \
		moe-route:--overlap | \
		moe-route:--chunk | \
		moe-route:--experts-per-token | moe-route:-k | \
		moe-route:--groups | \
		moe-route:--top-groups | \
		moe-route:--scale | \
		moe-route:--eps | \
		moe-route:--p-norm | \
		moe-route:--capacity | \
		moe-route:--capacity-tokens | \
		moe-route:--capacity-group | \
		moe-route:--capacity-devices | \
		moe-route:--exempt | \
		moe-route:--temperature | \
		moe-route:--noise | \
		moe-route:--adapt-bias | \
		moe-route:--batch-tokens | \
		moe-route:--epochs | \
		moe-route:--n-experts | \
		moe-route:--layer | \
		moe-route:--threads | moe-route:-j | \
		moe-route:--seed | \
		moe-run:--prompt | moe-run:-p | \
		moe-run:--system | \
		moe-run:--n-tokens | moe-run:-n | \
		moe-run:--temp | \
		moe-run:--top-k | \
		moe-run:--top-p | \
		moe-run:--min-p | \
		moe-run:--stop | \
		moe-run:--window | \
		moe-run:--overlap | \
		moe-run:--samples | \
		moe-run:--experts-per-token | moe-run:-k | \
		moe-run:--disable | \
		moe-run:--mask-top | \
		moe-run:--capacity | \
		moe-run:--capacity-tokens | \
		moe-run:--capacity-group | \
		moe-run:--ctx | \
		moe-run:--chunk | \
		moe-run:--threads | moe-run:-j | \
		moe-run:--seed | \
		moe-split:--ranks | moe-split:-n | \
		moe-split:--nodes | \
		moe-split:--groups | \
		moe-split:--slots | \
		moe-split:--replicas | \
		moe-split:--max-moves | \
		moe-split:--max-bytes | \
		moe-split:--expert-bytes | \
		moe-split:--slack | \
		moe-split:--time | \
		moe-split:--batch-tokens | \
		moe-split:--hidden-size | \
		moe-split:--bytes-per-element | \
		moe-split:--expert-width | \
		moe-split:--flops | \
		moe-split:--gbps | \
		moe-split:--max-imbalance | \
		moe-split:--stages | \
		moe-split:--cost | \
		moe-split:--micro-batches | \
		moe-split:--layers | \
		moe-split:--fits | \
		moe-split:--threads | moe-split:-j | \
		moe-split:--seed | \
		moe-stats:--layer | \
		moe-stats:--source | \
		moe-stats:--top | \
		moe-stats:--groups | \
		moe-stats:--top-groups | \
		moe-stats:--batch-tokens | \
		moe-stats:--flip-below | \
		moe-stats:--hidden-size | \
		moe-stats:--bytes-per-element | \
		moe-stats:--max | \
		moe-stats:--max-imbalance | \
		moe-stats:--title | \
		moe-stats:--threads | moe-stats:-j | \
		moe-stats:--seed)
		:
		return
		;;
	moe-convert:--by)
		mapfile -t COMPREPLY < <(compgen -W 'tensor role' -- "$cur")
		return
		;;
	moe-convert:--manifest | \
		moe-convert:--type-map | \
		moe-convert:--imatrix | \
		moe-convert:--config | \
		moe-convert:--keep-experts | \
		moe-convert:--drop-experts | \
		moe-convert:--order | \
		moe-convert:--merge-experts | \
		moe-convert:--output | moe-convert:-o | \
		moe-route:--hidden | \
		moe-route:--bias | \
		moe-route:--table | \
		moe-route:--counts | \
		moe-route:--batches | \
		moe-route:--model-config | \
		moe-route:--output | moe-route:-o | \
		moe-run:--logits | \
		moe-run:--hidden | \
		moe-run:--trace | \
		moe-run:--imatrix | \
		moe-run:--choices | \
		moe-run:--exact | \
		moe-run:--prefix | \
		moe-run:--replay | \
		moe-run:--output | moe-run:-o | \
		moe-split:--topology | \
		moe-split:--pin | \
		moe-split:--from | \
		moe-split:--evaluate | \
		moe-split:--test | \
		moe-split:--plan | \
		moe-split:--rebalance | \
		moe-split:--output | moe-split:-o | \
		moe-stats:--against | \
		moe-stats:--plan | \
		moe-stats:--topology | \
		moe-stats:--output | moe-stats:-o)
		compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	moe-convert:--kv)
		mapfile -t COMPREPLY < <(compgen -W 'bf16 f32 q8_0' -- "$cur")
		return
		;;
	moe-convert:--to | \
		moe-route:--to)
		_moe_ask to "$cur"
		return
		;;
	moe-convert:--type)
		_moe_ask type "$cur"
		return
		;;
	moe-convert:--fp8-scales)
		mapfile -t COMPREPLY < <(compgen -W 'f32 pow2 e8m0' -- "$cur")
		return
		;;
	moe-convert:--experts)
		mapfile -t COMPREPLY < <(compgen -W 'split stacked' -- "$cur")
		return
		;;
	moe-convert:--progress | \
		moe-route:--progress | \
		moe-run:--progress | \
		moe-split:--progress | \
		moe-stats:--progress)
		mapfile -t COMPREPLY < <(compgen -W 'auto plain none' -- "$cur")
		return
		;;
	moe-route:--gates | \
		moe-run:--gates)
		mapfile -t COMPREPLY < <(compgen -W 'f32 f16 8bit none' -- "$cur")
		return
		;;
	moe-route:--device | \
		moe-run:--device)
		_moe_ask device "$cur"
		return
		;;
	moe-route:--policy | \
		moe-run:--policy)
		_moe_ask policy "$cur"
		return
		;;
	moe-route:--group-score)
		mapfile -t COMPREPLY < <(compgen -W 'max top2' -- "$cur")
		return
		;;
	moe-route:--drop)
		mapfile -t COMPREPLY < <(compgen -W 'position choice prob random' -- "$cur")
		return
		;;
	moe-route:--priority)
		mapfile -t COMPREPLY < <(compgen -W 'token batch' -- "$cur")
		return
		;;
	moe-route:--normalize-when)
		mapfile -t COMPREPLY < <(compgen -W 'before after' -- "$cur")
		return
		;;
	moe-route:--second)
		mapfile -t COMPREPLY < <(compgen -W 'all random random-pair sampling' -- "$cur")
		return
		;;
	moe-route:--adapt-rule)
		mapfile -t COMPREPLY < <(compgen -W 'sign proportional centred' -- "$cur")
		return
		;;
	moe-route:--from)
		_moe_ask from "$cur"
		return
		;;
	moe-run:--mla)
		mapfile -t COMPREPLY < <(compgen -W 'role expanded absorbed' -- "$cur")
		return
		;;
	moe-split:--planner)
		_moe_ask planner "$cur"
		return
		;;
	moe-split:--import)
		_moe_ask import "$cur"
		return
		;;
	moe-split:--export)
		_moe_ask export "$cur"
		return
		;;
	moe-split:--verify | \
		moe-split:--patch | \
		moe-stats:--tokenizer)
		compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	moe-stats:--metric | moe-stats:-m)
		_moe_ask metric "$cur"
		return
		;;
	moe-stats:--plot)
		mapfile -t COMPREPLY < <(compgen -W 'load heatmap lorenz coactivation curve maxvio specialisation table' -- "$cur")
		return
		;;
	moe-stats:--by)
		mapfile -t COMPREPLY < <(compgen -W 'layer expert source domain window= position' -- "$cur")
		return
		;;
	esac
	case $tool in
	moe-convert) options='--info --list --hash --verify --tolerance --by --diff --only --sha256 --manifest --fits --ctx --ranks --kv --list-families --to --type --type-map --fp8-scales --dequantize --imatrix --imatrix-tokens --shard-size --model-parallel --experts --drop-mtp --config --segment --keep-experts --drop-experts --order --merge-experts --upcycle --upcycle-top-k --upcycle-shared --upcycle-noise --resume -o --output --json --force --dry-run -j --threads --seed --progress -q --quiet -v --verbose -h --help -V --version' ;;
	moe-route) options='--logits --margin --print --to --gates -p --prompt --ids --window --overlap --mtp --hidden --device --chunk --policy -k --experts-per-token --groups --top-groups --group-score --scale --eps --p-norm --normalize --no-normalize --bias --capacity --capacity-tokens --capacity-group --drop --priority --normalize-when --capacity-devices --exempt --second --table --counts --temperature --noise --adapt-bias --adapt-rule --batch-tokens --epochs --batches --list-policies --from --model-config --n-experts --layer --lenient -o --output --json --force --dry-run -j --threads --seed --progress -q --quiet -v --verbose -h --help -V --version' ;;
	moe-run) options='-p --prompt --ids --chat --system -n --n-tokens --temp --top-k --top-p --min-p --ignore-eos --echo --stop --score --window --overlap --logits --hidden --mtp --trace --imatrix --gates --choices --exact --prefix --samples --resume -k --experts-per-token --policy --disable --mask-top --no-shared --capacity --capacity-tokens --capacity-group --replay --replay-gates --tokenize --detokenize --device --ctx --mla --chunk -o --output --json --force --dry-run -j --threads --seed --progress -q --quiet -v --verbose -h --help -V --version' ;;
	moe-split) options='-n --ranks --nodes --topology --groups --slots --replicas --planner --pin --from --max-moves --max-bytes --expert-bytes --slack --time --list-planners --evaluate --test --batch-tokens --ci --hidden-size --bytes-per-element --expert-width --flops --gbps --max-imbalance --stages --cost --micro-batches --import --export --layers --list-forms --plan --resume --fits --verify --rebalance --links --patch --merge -o --output --json --force --dry-run -j --threads --seed --progress -q --quiet -v --verbose -h --help -V --version' ;;
	moe-stats) options='--load --summary -m --metric --plot --list --by --layer --source --top --diff --against --groups --top-groups --batch-tokens --flip-below --plan --topology --hidden-size --bytes-per-element --tokenizer --ci --max --max-imbalance --title --ascii -o --output --json --force --dry-run -j --threads --seed --progress -q --quiet -v --verbose -h --help -V --version' ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
	else
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		_moe_ask MODEL "$cur"
	fi
}
complete -F _moe moe-convert moe-route moe-run moe-split moe-stats
