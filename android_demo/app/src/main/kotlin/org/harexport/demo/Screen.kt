package org.harexport.demo

import android.app.Activity
import android.os.Handler
import android.os.Looper
import android.view.View
import android.widget.TextView

/** One of the app's screens: a view, drawn anew a few times a second while it is looked at. */
abstract class Screen(protected val root: View) {
    private val main = Handler(Looper.getMainLooper())
    private var shown = false
    private val tick =
        object : Runnable {
            override fun run() {
                render()
                main.postDelayed(this, TICK_MS)
            }
        }

    /** Puts what is known at this moment into the views. */
    protected abstract fun render()

    /** The screen is looked at. */
    open fun show() {
        root.visibility = View.VISIBLE
        if (shown) return
        shown = true
        tick.run()
    }

    /** It no longer is. [rotating]: it will be again in a moment. */
    open fun hide(rotating: Boolean) {
        shown = false
        main.removeCallbacks(tick)
    }

    companion object {
        const val TICK_MS = 200L
    }
}

/** Sets the text where it changes: else screen readers would say it again and again. */
fun TextView.say(words: CharSequence) {
    if (text.toString() != words.toString()) text = words
}

/** Shows [words], or, without any, does not take any room. */
fun TextView.sayOrHide(words: String?) {
    visibility = if (words == null) View.GONE else View.VISIBLE
    if (words != null) say(words)
}

/** A view of the layout, which is there by construction. */
fun <T : View> View.part(id: Int): T = checkNotNull(findViewById<T>(id)) { "the layout lacks $id" }

/** A view of the layout, which is there by construction. */
fun <T : View> Activity.part(id: Int): T = checkNotNull(findViewById<T>(id)) { "the layout lacks $id" }
